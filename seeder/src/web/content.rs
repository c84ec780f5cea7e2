//! The bytes of an answer: verified before they leave, as for peers, and paid for at the same tolls.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use shared::geometry::PieceIndex;

use crate::disk::{Storage, StorageError};
use crate::engine::Lent;
use crate::net::throttle::Tolls;

/// Bytes that are read at a time.
const CHUNK: u64 = 256 * 1024;

/// Why some bytes are not given.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Storage(#[from] StorageError),
    #[error("its content is not what the torrent says")]
    Damaged,
    #[error("the program stops")]
    Stopped,
}

/// A stretch of a torrent on its way out.
pub(super) struct Content {
    lent: Arc<Lent>,
    tolls: Tolls,
    /// Addresses of the bytes that are still to be read.
    left: Range<u64>,
}

impl Content {
    pub(super) fn new(lent: Arc<Lent>, tolls: Tolls, addresses: Range<u64>) -> Self {
        Self {
            lent,
            tolls,
            left: addresses,
        }
    }

    /// The next bytes, or trouble; nothing at the end. Waits for the disk, not for the rate.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, Trouble>> {
        if self.left.is_empty() {
            return None;
        }
        let part = self.left.start..self.left.end.min(self.left.start + CHUNK);
        self.left.start = part.end;
        Some(read(Arc::clone(&self.lent.opened.storage), part).await)
    }

    /// All of it as a body: what was read already, then the rest as fast as the rate lets it.
    pub(super) fn into_body(self, first: Option<Bytes>) -> Body {
        let parts = stream::unfold((self, first), async |(mut content, first)| {
            let part = match first {
                Some(first) => Ok(first),
                None => content.next().await?,
            };
            if let Ok(bytes) = &part {
                content.pay(bytes.len() as u64).await;
            }
            Some((part, (content, None)))
        });
        Body::from_stream(parts)
    }

    async fn pay(&self, bytes: u64) {
        let mut left = bytes;
        while left > 0 {
            left -= self.tolls.up(left).await.min(left);
        }
        self.lent.given(bytes);
    }
}

async fn read(storage: Arc<Storage>, addresses: Range<u64>) -> Result<Bytes, Trouble> {
    let length = usize::try_from(addresses.end - addresses.start).unwrap_or_default();
    let mut bytes = vec![0; length];
    let pieces = pieces(&storage, &addresses);
    let trusted = pieces.iter().all(|piece| storage.is_trusted(*piece));
    if trusted && storage.read_without_waiting(addresses.start, &mut bytes) {
        return Ok(bytes.into());
    }
    let turn = storage.device().read().await;
    let job = tokio::task::spawn_blocking(move || {
        // A read that hangs keeps its turn, also when nobody waits for it any more.
        let _turn = turn;
        read_waiting(&storage, &pieces, addresses.start, &mut bytes)?;
        Ok(bytes.into())
    });
    job.await.unwrap_or(Err(Trouble::Stopped))
}

fn read_waiting(
    storage: &Storage,
    pieces: &[PieceIndex],
    start: u64,
    into: &mut [u8],
) -> Result<(), Trouble> {
    let mut read = Ok(());
    let _waiting = pieces.first().map(|piece| storage.waiting(*piece));
    // A file that changed is known as it is now at the second look; one that goes on changing is given up.
    for _look in 0..2 {
        for piece in pieces {
            if !storage.is_trusted(*piece) && !storage.check(*piece)? {
                return Err(Trouble::Damaged);
            }
        }
        read = storage.read(start, into);
        if !matches!(read, Err(StorageError::Changed { .. })) {
            break;
        }
    }
    Ok(read?)
}

/// The pieces that hold these bytes.
pub(super) fn pieces(storage: &Storage, addresses: &Range<u64>) -> Vec<PieceIndex> {
    let geometry = storage.geometry();
    let length = u64::from(geometry.piece_length().max(1));
    let number = |address: u64| u32::try_from(address / length).unwrap_or(u32::MAX);
    let numbers = number(addresses.start)..=number(addresses.end.saturating_sub(1));
    numbers.filter_map(|number| geometry.piece(number)).collect()
}
