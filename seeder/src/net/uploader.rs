//! From outgoing messages to bytes for the socket, in batches: neighbouring blocks are read at once, and up to sixteen of
//! them leave with their headers in one gathering write. What the page cache holds is read here; the rest is
//! read by a thread that may wait.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Arc, Mutex, PoisonError};

use shared::geometry::Block;
use shared::peer_wire::{Message, piece_header};

use super::encryption::Rc4;
use crate::disk::{Storage, StorageError};

/// Blocks that leave together. More would save no time and hold more memory.
const BLOCKS_MAX: usize = 16;

/// Bytes of blocks that leave together; a request may be longer than a block, but not longer than half of this.
const BYTES_MAX: usize = 256 * 1024;

/// Bytes of other messages that leave together.
const CONTROL_MAX: usize = 64 * 1024;

/// Buffers kept for the next batch; connections that wait for a slow peer hold their own.
const SPARE_MAX: usize = 32;

/// Something for a peer.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Message(Message),
    /// Read these and send them, in this order.
    Serve(Arc<Storage>, Vec<Block>),
}

/// What all connections read with: spare buffers.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Readers {
    fn buffer(&self) -> Vec<u8> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| vec![0; BYTES_MAX])
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.len() == BYTES_MAX && spare.len() < SPARE_MAX {
            spare.push(buffer);
        }
    }
}

/// A block that could not be read.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) block: Block,
    pub(crate) trouble: Trouble,
}

/// Why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("{0}")]
    Storage(#[from] StorageError),
    #[error("its content is not what the torrent says")]
    Damaged,
}

/// A run of bytes for the socket.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// From the headers and messages.
    Control { start: usize, end: usize },
    /// From the blocks.
    Data { start: usize, end: usize },
}

/// What leaves with the next gathering write.
#[derive(Debug, Default)]
pub(super) struct Batch {
    control: Vec<u8>,
    data: Vec<u8>,
    parts: Vec<Part>,
    /// Parts that left already, and bytes of the one after them.
    sent: (usize, usize),
    /// Bytes of blocks that left and were not reported yet.
    pub(super) payload: u64,
    pub(super) unread: Vec<Unread>,
}

impl Batch {
    /// Takes from the front of the line what leaves together, and reads its blocks.
    pub(super) async fn fill(&mut self, line: &mut VecDeque<Outgoing>, readers: &Readers) {
        self.clear(readers);
        while self.control.len() < CONTROL_MAX
            && let Some(next) = line.pop_front()
        {
            match next {
                Outgoing::Message(message) => self.say(&message),
                Outgoing::Serve(storage, mut blocks) => {
                    join_following(line, &storage, &mut blocks);
                    let later = blocks.split_off(fitting(&blocks));
                    if !later.is_empty() {
                        line.push_front(Outgoing::Serve(Arc::clone(&storage), later));
                    }
                    self.serve(&storage, blocks, readers).await;
                    return;
                }
            }
        }
    }

    pub(super) fn clear(&mut self, readers: &Readers) {
        self.control.clear();
        self.parts.clear();
        self.sent = (0, 0);
        self.payload = 0;
        if !self.data.is_empty() {
            readers.give_back(std::mem::take(&mut self.data));
        }
    }

    fn say(&mut self, message: &Message) {
        let start = self.control.len();
        message.encode(&mut self.control);
        self.control_part(start);
    }

    fn control_part(&mut self, from: usize) {
        let end = self.control.len();
        match self.parts.last_mut() {
            Some(Part::Control { end: last, .. }) => *last = end,
            _ => self.parts.push(Part::Control { start: from, end }),
        }
    }

    async fn serve(&mut self, storage: &Arc<Storage>, blocks: Vec<Block>, readers: &Readers) {
        let mut data = readers.buffer();
        let trusted = blocks.iter().all(|block| storage.is_trusted(block.piece()));
        let unread = if trusted && read_hot(storage, &blocks, &mut data) {
            Vec::new()
        } else {
            let (buffer, unread) = read_cold(Arc::clone(storage), blocks.clone(), data).await;
            data = buffer;
            unread
        };
        self.data = data;
        let mut at = 0;
        for block in blocks {
            let length = block.length() as usize;
            if unread.iter().all(|unread| unread.block != block) {
                self.block(block, at, length);
            }
            at += length;
        }
        self.unread.extend(unread);
    }

    fn block(&mut self, block: Block, at: usize, length: usize) {
        let start = self.control.len();
        let header = piece_header(block.piece().number(), block.begin(), block.length());
        self.control.extend_from_slice(&header);
        self.control_part(start);
        self.parts.push(Part::Data {
            start: at,
            end: at + length,
        });
    }

    /// Hides everything in it, in the order in which it leaves.
    pub(super) fn hide(&mut self, cipher: &mut Rc4) {
        for part in &self.parts {
            let bytes = match *part {
                Part::Control { start, end } => self.control.get_mut(start..end),
                Part::Data { start, end } => self.data.get_mut(start..end),
            };
            cipher.apply(bytes.unwrap_or_default());
        }
    }

    /// The next bytes to be written, at most so many.
    pub(super) fn rest(&self, most: usize) -> Vec<IoSlice<'_>> {
        let (gone, within) = self.sent;
        let (mut room, mut within) = (most, within);
        let mut slices = Vec::with_capacity(self.parts.len().saturating_sub(gone));
        for part in self.parts.iter().skip(gone) {
            let bytes = self.bytes(*part, std::mem::take(&mut within));
            let bytes = bytes.get(..room).unwrap_or(bytes);
            room -= bytes.len();
            slices.push(IoSlice::new(bytes));
            if room == 0 {
                break;
            }
        }
        slices
    }

    /// Bytes that are still to be written.
    pub(super) fn left(&self) -> usize {
        let (gone, within) = self.sent;
        let lengths = self.parts.iter().skip(gone).map(|part| match part {
            Part::Control { start, end } | Part::Data { start, end } => end - start,
        });
        lengths.sum::<usize>().saturating_sub(within)
    }

    fn bytes(&self, part: Part, within: usize) -> &[u8] {
        match part {
            Part::Control { start, end } => self.control.get(start + within..end),
            Part::Data { start, end } => self.data.get(start + within..end),
        }
        .unwrap_or_default()
    }

    /// So many bytes were written.
    pub(super) fn advance(&mut self, mut written: usize) {
        while let Some(part) = self.parts.get(self.sent.0) {
            let left = self.bytes(*part, self.sent.1).len();
            if let Part::Data { .. } = part {
                self.payload += written.min(left) as u64;
            }
            if written < left {
                self.sent.1 += written;
                return;
            }
            written -= left;
            self.sent = (self.sent.0 + 1, 0);
        }
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent.0 >= self.parts.len()
    }
}

/// Takes the blocks that follow in the line, until there are enough for one batch.
fn join_following(line: &mut VecDeque<Outgoing>, storage: &Arc<Storage>, blocks: &mut Vec<Block>) {
    while blocks.len() < BLOCKS_MAX
        && let Some(Outgoing::Serve(other, more)) = line.front_mut()
        && Arc::ptr_eq(other, storage)
    {
        blocks.append(more);
        line.pop_front();
    }
}

/// How many of these blocks leave together; at least one.
fn fitting(blocks: &[Block]) -> usize {
    let mut bytes = 0;
    let fits = |block: &&Block| {
        bytes += block.length() as usize;
        bytes <= BYTES_MAX
    };
    blocks.iter().take(BLOCKS_MAX).take_while(fits).count().max(1)
}

/// Neighbouring blocks as one run: its address, its length, and its first and last block.
fn runs(storage: &Storage, blocks: &[Block]) -> Vec<(u64, usize, Vec<Block>)> {
    let mut runs: Vec<(u64, usize, Vec<Block>)> = Vec::new();
    for block in blocks {
        let (address, length) = (storage.address(*block), block.length() as usize);
        match runs.last_mut() {
            Some((start, run, members)) if *start + *run as u64 == address => {
                *run += length;
                members.push(*block);
            }
            _ => runs.push((address, length, vec![*block])),
        }
    }
    runs
}

fn read_hot(storage: &Storage, blocks: &[Block], data: &mut [u8]) -> bool {
    let mut rest = data;
    for (address, length, _) in runs(storage, blocks) {
        let Some((part, tail)) = rest.split_at_mut_checked(length) else {
            return false;
        };
        rest = tail;
        if !storage.read_without_waiting(address, part) {
            return false;
        }
    }
    true
}

async fn read_cold(storage: Arc<Storage>, blocks: Vec<Block>, mut data: Vec<u8>) -> (Vec<u8>, Vec<Unread>) {
    let turn = storage.device().read().await;
    let lost = blocks.clone();
    let job = tokio::task::spawn_blocking(move || {
        // A read that hangs keeps its turn, also when nobody waits for it any more.
        let _turn = turn;
        let unread = read_waiting(&storage, &blocks, &mut data);
        (data, unread)
    });
    // Only a job that panicked, or a runtime that ends, brings nothing.
    job.await.unwrap_or_else(|_| {
        let unread = lost.into_iter().map(|block| Unread {
            block,
            trouble: Trouble::Damaged,
        });
        (Vec::new(), unread.collect())
    })
}

fn read_waiting(storage: &Storage, blocks: &[Block], data: &mut [u8]) -> Vec<Unread> {
    let (mut unread, mut rest) = (Vec::new(), data);
    let mut ahead = None;
    let _waiting = blocks.first().map(|block| storage.waiting(block.piece()));
    for (address, length, members) in runs(storage, blocks) {
        let Some((part, tail)) = rest.split_at_mut_checked(length) else {
            break;
        };
        rest = tail;
        for piece in members.iter().map(|block| block.piece()) {
            if ahead.replace(piece) != Some(piece) {
                storage.read_ahead(piece);
            }
        }
        let trusted = members.iter().all(|block| storage.is_trusted(block.piece()));
        if !trusted || storage.read(address, part).is_err() {
            unread.extend(read_each(storage, members, part));
        }
    }
    unread
}

/// Block by block, so that one bad piece does not take its neighbours with it.
fn read_each(storage: &Storage, blocks: Vec<Block>, into: &mut [u8]) -> Vec<Unread> {
    let (mut unread, mut rest) = (Vec::new(), into);
    for block in blocks {
        let Some((part, tail)) = rest.split_at_mut_checked(block.length() as usize) else {
            break;
        };
        rest = tail;
        if let Err(trouble) = read_block(storage, block, part) {
            unread.push(Unread { block, trouble });
        }
    }
    unread
}

fn read_block(storage: &Storage, block: Block, into: &mut [u8]) -> Result<(), Trouble> {
    let piece = block.piece();
    let mut read = Ok(());
    // A file that changed is known as it is now at the second look; one that goes on changing is given up.
    for _look in 0..2 {
        if !storage.is_trusted(piece) && !storage.check(piece)? {
            return Err(Trouble::Damaged);
        }
        read = storage.read(storage.address(block), into);
        if !matches!(read, Err(StorageError::Changed { .. })) {
            break;
        }
    }
    Ok(read?)
}
