//! From bytes to whole messages. A length prefix is checked before anything is allocated for it, and the data of blocks are
//! handed on without being copied.

use bytes::{Buf, Bytes, BytesMut};
use shared::peer_wire::{Message, WireError, frame_length};

/// One read asks for so much at most: about sixteen blocks, after which a larger read saves nothing more.
const READ_MAX: usize = 256 * 1024;

/// An idle connection holds no more than this.
const READ_MIN: usize = 4 * 1024;

/// Messages handed on at once, so that a flood of tiny ones stays a small thing in memory.
const BATCH_MAX: usize = 512;

/// What was read and is not yet a whole message.
#[derive(Debug)]
pub(super) struct Inbox {
    bytes: BytesMut,
    /// How much the next read asks for: it follows what reads have brought.
    want: usize,
    frame_limit: u32,
}

impl Inbox {
    pub(super) fn new(frame_limit: u32) -> Self {
        Self {
            bytes: BytesMut::new(),
            want: READ_MIN,
            frame_limit,
        }
    }

    /// How much the next read asks for.
    pub(super) fn want(&self) -> usize {
        self.want
    }

    /// Room for the next read.
    pub(super) fn room(&mut self) -> &mut BytesMut {
        if self.bytes.is_empty() && self.want == READ_MIN && self.bytes.capacity() > READ_MIN {
            self.bytes = BytesMut::new();
        }
        if self.bytes.capacity() - self.bytes.len() < self.want {
            self.bytes.reserve(self.want);
        }
        &mut self.bytes
    }

    /// A read brought so many bytes.
    pub(super) fn took(&mut self, count: usize) {
        if count >= self.want {
            self.want = (self.want * 4).min(READ_MAX);
        } else if count < self.want / 8 {
            self.want = (self.want / 2).max(READ_MIN);
        }
    }

    /// The next whole messages, a bounded number of them; none when more bytes are needed.
    pub(super) fn messages(&mut self) -> Result<Vec<Message>, WireError> {
        let buffer = self.bytes.capacity();
        let (mut messages, mut payload) = (Vec::new(), 0);
        while messages.len() < BATCH_MAX
            && let Some(frame) = self.frame()?
        {
            let mut message = Message::decode(frame)?;
            if let Message::Piece { data, .. } = &message {
                payload += data.len();
            }
            // What a peer has, and metadata, are kept for long; they must not keep a whole buffer with them.
            if let Message::Bitfield(bytes) | Message::Extended { payload: bytes, .. } = &mut message {
                *bytes = Bytes::copy_from_slice(bytes);
            }
            if message != Message::KeepAlive || messages.last() != Some(&Message::KeepAlive) {
                messages.push(message);
            }
        }
        // A small block would hold a large buffer in memory for as long as its piece is gathered.
        if payload * 2 < buffer {
            messages.iter_mut().for_each(detach);
        }
        Ok(messages)
    }

    fn frame(&mut self) -> Result<Option<Bytes>, WireError> {
        let Some(prefix) = self.bytes.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = frame_length(*prefix, self.frame_limit)? as usize;
        if self.bytes.len() < 4 + length {
            self.want = self.want.max((4 + length - self.bytes.len()).min(READ_MAX));
            return Ok(None);
        }
        self.bytes.advance(4);
        Ok(Some(self.bytes.split_to(length).freeze()))
    }
}

fn detach(message: &mut Message) {
    if let Message::Piece { data, .. } = message {
        *data = Bytes::copy_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::peer_wire::Span;

    use super::*;

    /// Feeds bytes in parts, as sockets cut them, and collects what comes out.
    fn feed(bytes: &[u8], cuts: &[usize]) -> Result<Vec<Message>, WireError> {
        let mut inbox = Inbox::new(20_000);
        let (mut rest, mut heard, mut cuts) = (bytes, Vec::new(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            inbox.room().extend_from_slice(now);
            inbox.took(now.len());
            rest = later;
            loop {
                let messages = inbox.messages()?;
                if messages.is_empty() {
                    break;
                }
                heard.extend(messages);
            }
        }
        Ok(heard)
    }

    #[test]
    fn ten_gigabytes_are_refused_before_a_byte_of_them_is_awaited() {
        let refused = feed(&u32::MAX.to_be_bytes(), &[4]);
        assert_eq!(
            refused,
            Err(WireError::TooLong {
                length: u32::MAX,
                limit: 20_000
            })
        );
    }

    #[test]
    fn a_flood_of_keep_alives_is_one_message_a_batch() {
        assert_eq!(feed(&[0; 4_000], &[4_000]), Ok(vec![Message::KeepAlive]));
    }

    proptest! {
        #[test]
        fn messages_arrive_whole_however_the_stream_is_cut(
            lengths in prop::collection::vec(0_usize..16_000, 1..20),
            cuts in prop::collection::vec(1_usize..9_000, 1..8),
        ) {
            let sent: Vec<_> = lengths.iter().enumerate().flat_map(|(number, length)| {
                let piece = u32::try_from(number).unwrap();
                let data = Bytes::from(vec![number.to_le_bytes()[0]; *length]);
                [Message::Request(Span { piece, begin: 0, length: 1 }), Message::Piece { piece, begin: 7, data }]
            }).collect();
            let mut bytes = Vec::new();
            for message in &sent {
                message.encode(&mut bytes);
            }
            prop_assert_eq!(feed(&bytes, &cuts), Ok(sent));
        }
    }
}
