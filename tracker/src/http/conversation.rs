//! One connection on a lane, over any kind of stream: reads, answers every whole request it has, writes, and goes on.
//! What it cannot answer it gives back together with the bytes it has read. An idle connection holds no buffer at all:
//! bytes are read into the lane's own, and only the beginning of an unfinished request is kept.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use shared::moment::Moment;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tracing::debug;

use super::desk::Caller;
use super::lane::{Lane, Scratch};
use super::reply;
use super::trace::shortened;

/// After so many steps the other conversations of the lane have their turn: a client that sends requests without a pause
/// would otherwise keep the lane to itself for as long as the runtime lets it, thousands of requests at a time.
const STEPS_A_TURN: usize = 2;

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing is left to say; the stream may be dropped.
    Closed,
    /// hyper shall go on, beginning with what is left of `read`.
    Foreign,
}

/// What has been said and not been dealt with.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Bytes read that are no whole request yet, or wait until there is room for their answers.
    pub read: Vec<u8>,
    /// Bytes of answers that the socket would not take at once.
    pub unsent: Vec<u8>,
    /// The stream holds bytes of its own that are not on their way: TLS does.
    pub unflushed: bool,
    /// Nothing has been read since the last request.
    pub idle: bool,
    /// `read` may hold whole requests: answer them before reading on.
    pub more: bool,
    /// The end that comes when `unsent` is empty.
    pub end: Option<End>,
}

impl Backlog {
    fn is_writing(&self) -> bool {
        self.unflushed || !self.unsent.is_empty()
    }
}

/// A stream, and where the talk over it stands.
#[derive(Debug)]
pub(crate) struct Conversation<S> {
    pub stream: S,
    pub backlog: Backlog,
    caller: Caller,
    deadline: Moment,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    /// Begins, or goes on where an accept loop has left it.
    pub(crate) fn new(lane: &Lane, stream: S, caller: Caller, backlog: Backlog) -> Self {
        if backlog.is_writing() {
            lane.begin_writing();
        }
        let mut begun = Self {
            stream,
            backlog,
            caller,
            deadline: lane.now(),
        };
        begun.set_deadline(lane, true);
        begun
    }

    /// Talks until the end. Never fails: a broken stream is an end like any other.
    pub(crate) async fn talk(&mut self, lane: &Lane) -> End {
        let mut timer = pin!(lane.sleep_until(self.deadline));
        let end = std::future::poll_fn(|cx| self.poll_talk(cx, lane, timer.as_mut())).await;
        if self.backlog.is_writing() {
            lane.end_writing();
        }
        end
    }

    fn poll_talk(&mut self, cx: &mut Context<'_>, lane: &Lane, mut timer: Pin<&mut Sleep>) -> Poll<End> {
        for _ in 0..STEPS_A_TURN {
            match self.poll_step(cx, lane) {
                Poll::Ready(Ok(None)) => (),
                Poll::Ready(Ok(Some(end))) => return Poll::Ready(end),
                Poll::Ready(Err(_)) => return Poll::Ready(End::Closed),
                Poll::Pending => {
                    ready!(self.poll_deadline(cx, lane, timer.as_mut()));
                    self.complain(cx, lane);
                    return Poll::Ready(End::Closed);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what waits, or else reads and answers. `Some` is the end.
    fn poll_step(&mut self, cx: &mut Context<'_>, lane: &Lane) -> Poll<io::Result<Option<End>>> {
        if self.backlog.is_writing() {
            ready!(self.poll_send(cx, lane))?;
        }
        if let Some(end) = self.backlog.end.take() {
            return Poll::Ready(Ok(Some(end)));
        }
        if lane.is_stopping() && !self.backlog.more {
            return Poll::Ready(Ok(Some(End::Closed)));
        }
        let scratch = &mut *lane.scratch();
        let kept = keep(&self.backlog.read, scratch);
        let mut filled = kept;
        if !self.backlog.more {
            filled += ready!(self.poll_read(cx, scratch, kept))?;
            if filled == kept {
                return Poll::Ready(Ok(Some(End::Closed)));
            }
        }
        self.answer(cx, lane, scratch, filled)?;
        Poll::Ready(Ok(None))
    }

    /// Reads behind the bytes that were kept; zero is the end of the stream.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        kept: usize,
    ) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(scratch.input.get_mut(kept..).unwrap_or_default());
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
        Poll::Ready(Ok(room.filled().len()))
    }

    /// Answers what stands in the lane's input, and hands as much of it to the socket as it takes.
    fn answer(
        &mut self,
        cx: &mut Context<'_>,
        lane: &Lane,
        scratch: &mut Scratch,
        filled: usize,
    ) -> io::Result<()> {
        let was_idle = self.backlog.idle;
        let answered = lane.answer(scratch, filled, self.caller, &mut self.backlog);
        let mut sent = 0;
        while let Some(rest) = scratch.output.get(sent..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => sent += count,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.backlog.unsent.extend_from_slice(rest);
                    break;
                }
            }
        }
        if sent > 0 && self.backlog.unsent.is_empty() {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(flushed) => flushed?,
                Poll::Pending => self.backlog.unflushed = true,
            }
        }
        if self.backlog.is_writing() {
            lane.begin_writing();
        }
        self.set_deadline(lane, answered || was_idle);
        Ok(())
    }

    /// A head must be whole within its time, however often a byte of it comes; so only progress moves the deadline.
    fn set_deadline(&mut self, lane: &Lane, progress: bool) {
        let wait = match () {
            () if self.backlog.is_writing() => lane.times.write,
            () if self.backlog.idle => lane.times.idle,
            () if progress => lane.times.head,
            () => return,
        };
        self.deadline = lane.now() + wait;
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, lane: &Lane) -> Poll<io::Result<()>> {
        while !self.backlog.unsent.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.backlog.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => drop(self.backlog.unsent.drain(..count)),
            }
        }
        self.backlog.unsent = Vec::new();
        // Until this is done it counts as writing, whatever happens to the stream.
        self.backlog.unflushed = true;
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.backlog.unflushed = false;
        lane.end_writing();
        self.set_deadline(lane, true);
        Poll::Ready(Ok(()))
    }

    /// Ready when time is up. The timer is moved back only when it rings, so that an answer costs no timer at all.
    fn poll_deadline(&self, cx: &mut Context<'_>, lane: &Lane, mut timer: Pin<&mut Sleep>) -> Poll<()> {
        let instant = lane.instant(self.deadline);
        if timer.deadline() > instant {
            timer.as_mut().reset(instant);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= instant {
                return Poll::Ready(());
            }
            timer.as_mut().reset(instant);
        }
        Poll::Pending
    }

    /// Tells whoever began a request why it ends; whoever said nothing is told nothing.
    fn complain(&mut self, cx: &mut Context<'_>, lane: &Lane) {
        if !self.backlog.is_writing() && !self.backlog.read.is_empty() {
            // One try: a client this slow need not read it.
            lane.note_slow();
            debug!(from = shortened(self.caller.ip), "a request took too long");
            let _ = Pin::new(&mut self.stream).poll_write(cx, reply::TOO_SLOW);
        }
    }
}

/// Puts the kept bytes in front of those that will be read.
fn keep(read: &[u8], scratch: &mut Scratch) -> usize {
    for (to, from) in scratch.input.iter_mut().zip(read) {
        *to = *from;
    }
    read.len().min(scratch.input.len())
}
