//! A web seed (BEP 19) as a peer of the machine: it says what it has and unchokes us, takes requests, and gives blocks, which it
//! fetches in runs over HTTP. What it cannot give is refused as a peer would; when its server needs rest, it chokes.

mod address;
mod client;
mod run;
mod trouble;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use shared::bitfield::Bitfield;
use shared::metainfo::{FileKind, Info};
use shared::peer_wire::{Message, Span};
use tokio::sync::mpsc;
use tracing::debug;

pub(crate) use address::{Found, SeekError, find, for_logs, is_home};
pub(crate) use client::WebClient;
use client::{Spot, Stream, Wanted};
use run::{Run, Stretch};
use trouble::Trouble;

use super::pipe::{FromPeer, News, PipeEnd};
use super::throttle::Tolls;
use super::uploader::Outgoing;
use crate::torrent::PeerKey;

/// Requests that may wait. The machine keeps fewer; what is more is refused.
const WAITING_MAX: usize = 2_048;
/// A server that gives whole files only may send so much in vain before it counts against what was of use.
const SKIP_FREE: u64 = 64 << 20;
/// An answer that goes on beyond what is wanted is kept for so long, in case what follows is wanted next.
const KEPT: Duration = Duration::from_secs(5);
/// Files that a server may lack, whatever it has.
const LACKS_FREE: usize = 16;
/// Zeros are made in portions.
const ZEROS: usize = 64 * 1024;

/// What is known of a web seed, from one connection to the next.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Files that it has not.
    lacks: BTreeSet<usize>,
    /// Ranges that came.
    came: usize,
    /// Bytes that were of use, and that were read in vain.
    used: u64,
    skipped: u64,
    /// Failures in a row.
    failures: u32,
    /// Why it is of no use any more.
    over: Option<String>,
    /// What went wrong last, in words.
    pub(crate) trouble: Option<String>,
}

/// One web seed of a torrent, for as long as something is wanted.
#[derive(Debug)]
pub(crate) struct WebSeed {
    pub(crate) peer: PeerKey,
    pub(crate) info: Arc<Info>,
    pub(crate) found: Found,
    pub(crate) client: WebClient,
    pub(crate) tolls: Tolls,
    pub(crate) memory: Arc<Mutex<Memory>>,
    pub(crate) news: mpsc::Sender<FromPeer>,
}

impl Memory {
    /// Why it is of no use any more, if it is not.
    pub(crate) fn over(&self) -> Option<&str> {
        self.over.as_deref()
    }

    /// Notes that it has not this file; says whether it can still be of use.
    fn lacks(&mut self, file: usize, info: &Info) {
        self.lacks.insert(file);
        let has = |(number, file): (usize, &shared::metainfo::File)| {
            file.kind == FileKind::Regular && file.length > 0 && !self.lacks.contains(&number)
        };
        let some = info.files().iter().enumerate().any(has);
        // Who searches ten thousand files where there are none is taken for an attacker.
        if !some || self.lacks.len() > LACKS_FREE + self.came {
            self.over = self.trouble.clone();
        }
    }
}

/// A line to a machine that sends requests, and what of it waits.
struct Line {
    from: mpsc::Receiver<Outgoing>,
    waiting: VecDeque<Span>,
}

impl WebSeed {
    /// Runs until it can give nothing more, or until nobody wants anything: the driver ends it by dropping the sender of `line`.
    pub(crate) async fn run(mut self, line: mpsc::Receiver<Outgoing>) {
        let mut line = Line {
            from: line,
            waiting: VecDeque::new(),
        };
        let end = match self.work(&mut line).await {
            Err(Trouble::Released) | Ok(()) => PipeEnd::Released,
            Err(trouble) => PipeEnd::Io(io::Error::other(trouble)),
        };
        // A driver that is gone needs no word.
        let _ = self.tell(News::Ended(end)).await;
    }

    async fn work(&mut self, line: &mut Line) -> Result<(), Trouble> {
        let has = self.has();
        self.say(vec![Message::Bitfield(has), Message::Unchoke]).await?;
        let mut stream = None;
        loop {
            while line.waiting.is_empty() {
                let heard = if stream.is_some() {
                    tokio::time::timeout(KEPT, line.hear()).await
                } else {
                    Ok(line.hear().await)
                };
                match heard {
                    Ok(heard) => drop(heard?),
                    Err(_) => stream = None,
                }
            }
            line.hear_more();
            let Some(mut run) = Run::take(&mut line.waiting, self.info.geometry()) else {
                continue;
            };
            if let Err(trouble) = self.fetch(&mut run, &mut stream, line).await {
                stream = None;
                line.waiting.extend(run.left());
                self.suffer(trouble, line).await?;
            }
        }
    }

    /// All pieces but those that lie in a file that it has not.
    fn has(&self) -> Bytes {
        let geometry = self.info.geometry();
        let mut has = Bitfield::all(geometry);
        for file in &self.memory().lacks {
            let Some(file) = self.info.files().get(*file) else {
                continue;
            };
            for piece in run::pieces_of(file, geometry).filter_map(|piece| geometry.piece(piece)) {
                has.unset(piece);
            }
        }
        Bytes::copy_from_slice(has.as_bytes())
    }

    /// Fetches a run, file by file, as far as it is wanted.
    async fn fetch(
        &mut self,
        run: &mut Run,
        stream: &mut Option<Stream>,
        line: &mut Line,
    ) -> Result<(), Trouble> {
        while !run.is_unwanted()
            && let Some(stretch) = run.next(self.info.files())
        {
            let Some(file) = stretch.file else {
                let zeros = usize::try_from(stretch.length).unwrap_or(ZEROS).min(ZEROS);
                self.give(run, Bytes::from(vec![0; zeros])).await?;
                continue;
            };
            let mut open = match stream.take() {
                Some(open) if self.leads_to(&open, file, stretch.offset) => open,
                _ => self.open(file, stretch).await?,
            };
            self.skip(&mut open, stretch.offset).await?;
            self.read(&mut open, stretch.length, run, line).await?;
            // A range that is wanted no longer is not read to its end: that closes the connection.
            *stream = Some(open).filter(|open| open.at < open.end && (open.whole || !run.is_unwanted()));
        }
        Ok(())
    }

    /// An answer under way brings these bytes, soon.
    fn leads_to(&self, open: &Stream, file: usize, offset: u64) -> bool {
        open.file == file && (open.at..open.end).contains(&offset) && self.may_skip(offset - open.at)
    }

    fn may_skip(&self, bytes: u64) -> bool {
        let memory = self.memory();
        memory.skipped + bytes <= memory.used + SKIP_FREE
    }

    async fn open(&mut self, file: usize, stretch: Stretch) -> Result<Stream, Trouble> {
        let Some(entry) = self.info.files().get(file) else {
            return Err(Trouble::Useless("its torrent has no such file".to_owned()));
        };
        let url = address::url_of(&self.found.url, &self.info, entry);
        let url =
            url.ok_or_else(|| Trouble::Useless("its URL has no place for the names of files".to_owned()))?;
        let wanted = Wanted {
            file,
            length: entry.length,
            bytes: stretch.offset..stretch.offset + stretch.length,
        };
        let spot = Spot {
            url,
            reach: self.found.reach,
        };
        let (open, from) = self.client.ask(spot, &wanted).await?;
        debug!(url = %for_logs(from.url.as_str()), range = ?wanted.bytes, whole = open.whole, "web seed answers");
        Ok(open)
    }

    /// Reads over what comes before the bytes that are wanted.
    async fn skip(&mut self, open: &mut Stream, until: u64) -> Result<(), Trouble> {
        if !self.may_skip(until.saturating_sub(open.at)) {
            let why = "it sends whole files in the place of ranges, most of it in vain";
            return Err(Trouble::Useless(why.to_owned()));
        }
        while open.at < until {
            let bytes = open.next(until - open.at).await?;
            self.memory().skipped += bytes.len() as u64;
            self.pay(bytes.len()).await;
        }
        Ok(())
    }

    /// Reads so many bytes into the run, while new requests and cancels are heard.
    async fn read(
        &mut self,
        open: &mut Stream,
        length: u64,
        run: &mut Run,
        line: &mut Line,
    ) -> Result<(), Trouble> {
        let mut left = length;
        while left > 0 && open.at < open.end && !run.is_unwanted() {
            tokio::select! {
                bytes = open.next(left) => {
                    let bytes = bytes?;
                    left -= bytes.len() as u64;
                    let count = bytes.len();
                    self.give(run, bytes).await?;
                    self.pay(count).await;
                }
                heard = line.hear() => {
                    if let Some(cancelled) = heard? {
                        run.cancel(cancelled);
                    }
                }
            }
        }
        self.memory().came += 1;
        Ok(())
    }

    /// The rate is paid for what was read before more is.
    async fn pay(&self, bytes: usize) {
        let mut left = bytes as u64;
        while left > 0 && self.tolls.limits_down() {
            left -= self.tolls.down(left).await.min(left);
        }
    }

    async fn give(&self, run: &mut Run, bytes: Bytes) -> Result<(), Trouble> {
        self.memory().used += bytes.len() as u64;
        let whole = run.put(bytes);
        if whole.is_empty() {
            return Ok(());
        }
        {
            let mut memory = self.memory();
            memory.failures = 0;
            memory.trouble = None;
        }
        self.say(whole).await
    }

    /// What follows from trouble: a pause, or the end.
    async fn suffer(&mut self, trouble: Trouble, line: &mut Line) -> Result<(), Trouble> {
        let why = trouble.to_string();
        let (failures, after) = {
            let mut memory = self.memory();
            memory.trouble = Some(why.clone());
            match &trouble {
                Trouble::Released => return Err(trouble),
                Trouble::Useless(_) => {
                    memory.over = Some(why);
                    return Err(trouble);
                }
                Trouble::Lacks { file, .. } => {
                    memory.lacks(*file, &self.info);
                    return Err(trouble);
                }
                Trouble::Passing { after, .. } => {
                    let failures = memory.failures;
                    memory.failures += 1;
                    (failures, *after)
                }
            }
        };
        let pause = trouble::pause(failures, after);
        debug!(url = %for_logs(self.found.url.as_str()), %why, ?pause, "web seed rests");
        self.say(vec![Message::Choke]).await?;
        let rest = tokio::time::sleep(pause);
        tokio::pin!(rest);
        loop {
            let refused = std::mem::take(&mut line.waiting);
            if !refused.is_empty() {
                self.say(refused.into_iter().map(Message::Reject).collect())
                    .await?;
            }
            tokio::select! {
                () = &mut rest => break,
                heard = line.hear() => drop(heard?),
            }
        }
        self.say(vec![Message::Unchoke]).await
    }

    async fn say(&self, messages: Vec<Message>) -> Result<(), Trouble> {
        self.tell(News::Messages(messages)).await
    }

    async fn tell(&self, news: News) -> Result<(), Trouble> {
        let news = FromPeer {
            peer: self.peer,
            news,
        };
        self.news.send(news).await.map_err(|_| Trouble::Released)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        remembered(&self.memory)
    }
}

/// What is known of a web seed.
pub(crate) fn remembered(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    /// Hears one word of the machine. Gives the block that it wants no longer, if that waits no more.
    async fn hear(&mut self) -> Result<Option<Span>, Trouble> {
        let word = self.from.recv().await.ok_or(Trouble::Released)?;
        Ok(self.note(word))
    }

    fn hear_more(&mut self) {
        while let Ok(word) = self.from.try_recv() {
            self.note(word);
        }
    }

    fn note(&mut self, word: Outgoing) -> Option<Span> {
        match word {
            Outgoing::Message(Message::Request(span)) if self.waiting.len() < WAITING_MAX => {
                self.waiting.push_back(span);
                None
            }
            Outgoing::Message(Message::Cancel(span)) => {
                let place = self.waiting.iter().position(|waiting| *waiting == span);
                place
                    .is_none_or(|place| self.waiting.remove(place).is_none())
                    .then_some(span)
            }
            // It asks for nothing, so nothing is served; and what else is said has no meaning to a server of files.
            Outgoing::Message(_) | Outgoing::Serve(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::metainfo::Metainfo;

    use super::*;

    fn torrent(files: usize) -> Info {
        let file = |name: usize| format!("d6:lengthi10e4:pathl3:{name}ee");
        let list = (100..100 + files).map(file).collect::<Vec<_>>().concat();
        let info = format!(
            "d5:filesl{list}e4:name1:n12:piece lengthi16384e6:pieces20:{}e",
            "h".repeat(20)
        );
        Metainfo::read(format!("d4:info{info}e").as_bytes()).unwrap().info
    }

    /// A server that lacks these files and gave so many ranges: is it given up?
    fn gives_up(files: usize, lacks: usize, came: usize) -> bool {
        let info = torrent(files);
        let mut memory = Memory {
            came,
            trouble: Some("it answers HTTP 404".to_owned()),
            ..Memory::default()
        };
        (0..lacks).for_each(|file| memory.lacks(file, &info));
        memory.over().is_some()
    }

    #[test]
    fn a_server_without_files_is_given_up_before_it_was_asked_for_all_of_them() {
        assert!(gives_up(1, 1, 0) && gives_up(3, 3, 9));
        assert!(!gives_up(100, 16, 0) && gives_up(100, 17, 0));
        assert!(!gives_up(100, 60, 50), "one that has most of them may lack some");
    }
}
