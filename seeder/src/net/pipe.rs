//! One connection: a socket on one side, whole messages on the other. Reading and writing go on side by side in one task, and
//! neither waits for the other; the driver never waits for a pipe.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use shared::geometry::Block;
use shared::peer_wire::{Message, WireError};
use tokio::sync::mpsc;

use super::inbox::Inbox;
use super::line::{Incoming, Line, Outgoing as Way};
use super::throttle::Tolls;
use super::uploader::{Batch, Outgoing, Readers, Trouble};
use crate::torrent::PeerKey;

/// A peer that takes not one byte for so long is gone, or wants to hold our memory.
const STALL_MAX: Duration = Duration::from_secs(60);

/// Items that may wait for a peer. A healthy peer has a few; one that reads nothing while pieces arrive by the
/// thousand is let go when its line is full.
pub(crate) const LINE_MAX: usize = 16 * 1024;

/// Items taken out of the line at once, so that what may leave together does.
const LOOK_AHEAD: usize = 256;

/// What a pipe tells its driver.
#[derive(Debug)]
pub(crate) struct FromPeer {
    pub(crate) peer: PeerKey,
    pub(crate) news: News,
}

#[derive(Debug)]
pub(crate) enum News {
    Messages(Vec<Message>),
    /// So many bytes of blocks left.
    Served(u64),
    Unserved(Block, Trouble),
    /// The last word: the connection is closed.
    Ended(PipeEnd),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipeEnd {
    #[error("closed by the peer")]
    Closed,
    #[error("closed by us")]
    Released,
    #[error("it took nothing for {} seconds", STALL_MAX.as_secs())]
    Stalled,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Wire(#[from] WireError),
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) peer: PeerKey,
    pub(crate) line: Line,
    pub(crate) frame_limit: u32,
    pub(crate) readers: Arc<Readers>,
    pub(crate) tolls: Tolls,
    pub(crate) news: mpsc::Sender<FromPeer>,
}

impl Pipe {
    /// Runs until either side ends it. The driver ends it by dropping the sender of `waiting`; what stands in it still leaves.
    pub(crate) async fn run(self, waiting: mpsc::Receiver<Outgoing>) {
        let Self {
            peer,
            mut line,
            frame_limit,
            readers,
            tolls,
            news,
        } = self;
        let driver = Reports { peer, news };
        let (incoming, outgoing) = line.halves();
        let end = tokio::select! {
            end = read(incoming, Inbox::new(frame_limit), &tolls, &driver) => end,
            end = write(outgoing, waiting, (&readers, &tolls), &driver) => end,
        };
        // A driver that is gone needs no word.
        let _ = driver
            .tell(News::Ended(end.err().unwrap_or(PipeEnd::Released)))
            .await;
    }
}

/// The way to the driver.
#[derive(Debug)]
struct Reports {
    peer: PeerKey,
    news: mpsc::Sender<FromPeer>,
}

impl Reports {
    async fn tell(&self, news: News) -> Result<(), PipeEnd> {
        let news = FromPeer {
            peer: self.peer,
            news,
        };
        self.news.send(news).await.map_err(|_| PipeEnd::Released)
    }

    /// Says what became of a batch, as far as it was sent.
    async fn report(&self, batch: &mut Batch) -> Result<(), PipeEnd> {
        for unread in std::mem::take(&mut batch.unread) {
            self.tell(News::Unserved(unread.block, unread.trouble)).await?;
        }
        let payload = std::mem::take(&mut batch.payload);
        if payload > 0 {
            self.tell(News::Served(payload)).await?;
        }
        Ok(())
    }
}

async fn read(
    mut incoming: Incoming<'_>,
    mut inbox: Inbox,
    tolls: &Tolls,
    driver: &Reports,
) -> Result<(), PipeEnd> {
    loop {
        let want = inbox.want();
        let granted = if tolls.limits_down() {
            // Nothing is paid for while nothing is there.
            incoming.readable().await?;
            // Never more than was asked for, so it fits.
            usize::try_from(tolls.down(want as u64).await).unwrap_or(want)
        } else {
            want
        };
        let read = incoming.read(inbox.room(), granted).await;
        let count = *read.as_ref().unwrap_or(&0);
        tolls.down_unused(granted.saturating_sub(count) as u64);
        if read? == 0 {
            return Err(PipeEnd::Closed);
        }
        inbox.took(count);
        loop {
            let messages = inbox.messages()?;
            if messages.is_empty() {
                break;
            }
            driver.tell(News::Messages(messages)).await?;
        }
    }
}

async fn write(
    mut outgoing: Way<'_>,
    mut line: mpsc::Receiver<Outgoing>,
    (readers, tolls): (&Readers, &Tolls),
    driver: &Reports,
) -> Result<(), PipeEnd> {
    let (mut waiting, mut batch) = (VecDeque::new(), Batch::default());
    while let Some(first) = line.recv().await {
        waiting.push_back(first);
        while !waiting.is_empty() {
            while waiting.len() < LOOK_AHEAD
                && let Ok(more) = line.try_recv()
            {
                waiting.push_back(more);
            }
            batch.fill(&mut waiting, readers).await;
            if let Some(cipher) = outgoing.cipher() {
                batch.hide(cipher);
            }
            while !batch.is_sent() {
                send(&mut outgoing, &mut batch, tolls).await?;
                driver.report(&mut batch).await?;
            }
            // A batch of blocks none of which could be read has nothing to send.
            driver.report(&mut batch).await?;
        }
        batch.clear(readers);
    }
    Ok(())
}

/// Sends as much of a batch as the tolls grant at once: all of it where there is no limit.
async fn send(outgoing: &mut Way<'_>, batch: &mut Batch, tolls: &Tolls) -> Result<(), PipeEnd> {
    let mut granted = tolls.up(batch.left() as u64).await;
    while granted > 0 && !batch.is_sent() {
        let parts = batch.rest(usize::try_from(granted).unwrap_or(usize::MAX));
        let written = tokio::time::timeout(STALL_MAX, outgoing.write(&parts)).await;
        let Ok(Ok(count)) = written else {
            tolls.up_unused(granted);
            return Err(written.map_or(PipeEnd::Stalled, |written| {
                written.err().map_or(PipeEnd::Closed, PipeEnd::Io)
            }));
        };
        if count == 0 {
            return Err(PipeEnd::Closed);
        }
        batch.advance(count);
        granted -= (count as u64).min(granted);
    }
    Ok(())
}
