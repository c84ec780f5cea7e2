//! A stream with bytes put back in front of it: what a lane has read, hyper reads again. It also watches hyper's writes,
//! for which hyper itself knows no time limit: a client that never reads its answers is cut off.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The stream, the bytes to be read before it, and how long one write may wait.
#[derive(Debug)]
pub struct Rewound<S> {
    stream: S,
    front: Vec<u8>,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Rewound<S> {
    pub fn new(stream: S, front: Vec<u8>, patience: Duration) -> Self {
        Self {
            stream,
            front,
            patience,
            stalled: None,
        }
    }

    /// Passes a result on, and turns a wait that has become too long into an error.
    fn watch<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let patience = self.patience;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.front.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, room);
        }
        let count = self.front.len().min(room.remaining());
        for byte in self.front.drain(..count) {
            room.put_slice(&[byte]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, result)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn what_was_read_is_read_again_and_then_the_rest() {
        let (mut client, server) = duplex(64);
        client.write_all(b"third").await.unwrap();
        drop(client);
        let mut rewound = Rewound::new(server, b"first second ".to_vec(), PATIENCE);
        let mut six = [0; 6];
        rewound.read_exact(&mut six).await.unwrap();
        let mut rest = String::new();
        rewound.read_to_string(&mut rest).await.unwrap();
        assert_eq!((&six, rest.as_str()), (b"first ", "second third"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_reads_is_given_up() {
        let (_client, server) = duplex(8);
        let mut rewound = Rewound::new(server, Vec::new(), PATIENCE);
        let error = rewound.write_all(b"more than eight bytes").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
