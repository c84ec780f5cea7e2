//! A connection whose handshakes are done: its stream, the bytes that were read behind them, and its ciphers, if it has any. Both
//! directions can be used at the same time, and neither waits for the other.

use std::io::{self, IoSlice};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::encryption::Rc4;

/// What hides the bytes of each direction.
#[derive(Debug)]
pub(crate) struct Ciphers {
    pub(crate) reading: Rc4,
    pub(crate) writing: Rc4,
}

/// A connection that carries messages.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    /// Bytes that came along with the handshakes, as the peer meant them.
    early: BytesMut,
    /// Boxed: most lines have none, and they are 2 KiB.
    ciphers: Option<Box<Ciphers>>,
}

impl Line {
    /// A connection of which nothing more was read than what it is made for.
    pub(crate) fn plain(stream: TcpStream) -> Self {
        Self::new(stream, BytesMut::new(), None)
    }

    /// A connection that has said `early` already, here as it was meant.
    pub(crate) fn new(stream: TcpStream, early: BytesMut, ciphers: Option<Ciphers>) -> Self {
        Self {
            stream,
            early,
            ciphers: ciphers.map(Box::new),
        }
    }

    /// Reads so many bytes, as the peer meant them.
    pub(crate) async fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        let (front, rest) = into.split_at_mut(self.early.len().min(into.len()));
        self.early.copy_to_slice(front);
        self.stream.read_exact(rest).await?;
        if let Some(ciphers) = &mut self.ciphers {
            ciphers.reading.apply(rest);
        }
        Ok(())
    }

    /// Writes all of this.
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut bytes = bytes.to_vec();
        if let Some(ciphers) = &mut self.ciphers {
            ciphers.writing.apply(&mut bytes);
        }
        self.stream.write_all(&bytes).await
    }

    /// Are its bytes hidden?
    pub(crate) fn is_encrypted(&self) -> bool {
        self.ciphers.is_some()
    }

    /// Both directions, each for itself.
    pub(crate) fn halves(&mut self) -> (Incoming<'_>, Outgoing<'_>) {
        let (reading, writing) = match &mut self.ciphers {
            Some(ciphers) => (Some(&mut ciphers.reading), Some(&mut ciphers.writing)),
            None => (None, None),
        };
        let (read, write) = self.stream.split();
        let incoming = Incoming {
            stream: read,
            early: &mut self.early,
            cipher: reading,
        };
        let outgoing = Outgoing {
            stream: write,
            cipher: writing,
        };
        (incoming, outgoing)
    }
}

/// What comes in.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    stream: ReadHalf<'a>,
    early: &'a mut BytesMut,
    cipher: Option<&'a mut Rc4>,
}

impl Incoming<'_> {
    /// Waits until there may be something to read.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        if self.early.is_empty() {
            self.stream.readable().await
        } else {
            Ok(())
        }
    }

    /// Waits for bytes and reads at most so many of them into the free room of a buffer, as the peer meant them. Zero bytes are
    /// the end. A read that brings less than there is room for tells the runtime that the socket is empty: a system call
    /// less than asking it.
    pub(crate) async fn read(&mut self, into: &mut BytesMut, most: usize) -> io::Result<usize> {
        if !self.early.is_empty() {
            let count = self.early.len().min(most);
            into.put(self.early.split_to(count));
            return Ok(count);
        }
        let start = into.len();
        let count = self.stream.read_buf(&mut into.limit(most)).await?;
        if let (Some(cipher), Some(fresh)) = (&mut self.cipher, into.get_mut(start..)) {
            cipher.apply(fresh);
        }
        Ok(count)
    }
}

/// What goes out.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    stream: WriteHalf<'a>,
    cipher: Option<&'a mut Rc4>,
}

impl Outgoing<'_> {
    /// What hides these bytes, if anything does: whoever writes calls it for every byte once, in their order.
    pub(crate) fn cipher(&mut self) -> Option<&mut Rc4> {
        self.cipher.as_deref_mut()
    }

    /// Writes as much as there is room for, and waits where there is none. The bytes have been hidden already.
    pub(crate) async fn write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_vectored(parts).await
    }
}
