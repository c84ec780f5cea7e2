//! A lane: one thread with a runtime of its own that accepts connections, reads at once, and answers announces and
//! scrapes without leaving the thread. Most clients open a connection for one announce; those are answered before their
//! socket was ever registered anywhere. Here is what its conversations share; [`porter`](super::porter) lets them in.

use std::cell::{Cell, RefCell, RefMut};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use shared::moment::Moment;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::conversation::{Backlog, End};
use super::desk::{Caller, Debt, Desk, Question, Via};
use super::forwarded::Trust;
use super::head::{self, Ask, Head};
use super::reply;
use crate::metrics::{Counters, Reason};

/// Once so many bytes of answers wait, they are sent before more requests are answered.
const OUTPUT_MAX: usize = 64 * 1024;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// For a whole head, from its first byte (or from the connection's).
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// To take an answer.
    pub write: Duration,
}

/// What answers depend on, whatever the connection.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    pub desk: Arc<Desk>,
    pub trust: Arc<Trust>,
    pub times: Times,
    /// The longest head.
    pub head_bytes: usize,
}

/// Buffers and dice that are used by one connection after the other.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub input: Vec<u8>,
    pub output: Vec<u8>,
    body: Vec<u8>,
    dice: SmallRng,
}

/// One lane, known to all conversations on it.
#[derive(Debug)]
pub(crate) struct Lane {
    pub times: Times,
    desk: Arc<Desk>,
    trust: Arc<Trust>,
    pub counters: Arc<Counters>,
    scratch: RefCell<Scratch>,
    /// Conversations whose answers wait for the socket; the lane ends after them.
    writing: Cell<usize>,
    calm: Notify,
    /// What has been read is still answered; nothing more is read.
    stopping: Cell<bool>,
}

impl Lane {
    pub(crate) fn new(front: &Front, counters: Arc<Counters>) -> Self {
        let input = vec![0; front.head_bytes];
        let dice = rand::make_rng();
        Self {
            times: front.times,
            desk: Arc::clone(&front.desk),
            trust: Arc::clone(&front.trust),
            counters,
            scratch: RefCell::new(Scratch {
                input,
                output: Vec::new(),
                body: Vec::new(),
                dice,
            }),
            writing: Cell::new(0),
            calm: Notify::new(),
            stopping: Cell::new(false),
        }
    }

    pub(crate) fn now(&self) -> Moment {
        self.desk.clock.now()
    }

    pub(crate) fn instant(&self, moment: Moment) -> Instant {
        self.desk.clock.instant(moment)
    }

    pub(crate) fn sleep_until(&self, moment: Moment) -> Sleep {
        tokio::time::sleep_until(self.instant(moment))
    }

    /// The lane's buffers, for one synchronous step.
    pub(crate) fn scratch(&self) -> RefMut<'_, Scratch> {
        self.scratch.borrow_mut()
    }

    /// Counts a client that did not finish in time.
    pub(crate) fn note_slow(&self) {
        self.counters.error(Reason::Slow);
    }

    pub(crate) fn begin_writing(&self) {
        self.writing.set(self.writing.get() + 1);
    }

    pub(crate) fn end_writing(&self) {
        self.writing.set(self.writing.get() - 1);
        if self.writing.get() == 0 {
            self.calm.notify_one();
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Reads nothing more, and waits until the last answer is sent.
    pub(crate) async fn finish(&self) {
        self.stopping.set(true);
        while self.writing.get() > 0 {
            self.calm.notified().await;
        }
    }

    /// Who asks: whose socket it is, unless a proxy has something to say, or should have.
    fn caller(&self, ask: &Ask<'_>, rest: &[u8], socket: Caller) -> Caller {
        if !ask.forwarded && socket.via == Via::Socket {
            return socket;
        }
        let sighted = head::caller(rest, socket, &self.trust);
        if sighted.ignored {
            self.counters.forwarded_ignored.add(1);
        }
        sighted.caller
    }

    /// Answers the whole requests among the first `filled` bytes of the input, into the output; keeps what is left. Says
    /// whether there was any.
    pub(crate) fn answer(
        &self,
        scratch: &mut Scratch,
        filled: usize,
        caller: Caller,
        backlog: &mut Backlog,
    ) -> bool {
        let Scratch {
            input,
            output,
            body,
            dice,
        } = scratch;
        let room = filled < input.len();
        let input = input.get(..filled).unwrap_or_default();
        output.clear();
        let mut rest = input;
        let mut debt = Debt::NONE;
        (backlog.more, backlog.end) = (false, None);
        while !rest.is_empty() && backlog.end.is_none() && !backlog.more {
            match head::read(rest) {
                Head::Ask(ask) => {
                    body.clear();
                    let question = Question {
                        route: ask.route,
                        key: ask.key,
                        query: ask.query,
                        host: ask.host,
                        caller: self.caller(&ask, rest, caller),
                    };
                    debt = debt.and(self.desk.answer(question, &self.counters, dice, body));
                    reply::write_ok(output, ask.framing, body);
                    rest = rest.get(ask.length..).unwrap_or_default();
                    backlog.end = (!ask.framing.keep_alive).then_some(End::Closed);
                    backlog.more = output.len() >= OUTPUT_MAX;
                }
                Head::Partial if room || rest.len() < filled => break,
                // A head that fills the whole buffer is too long; hyper knows how to say so.
                Head::Partial | Head::Foreign => backlog.end = Some(End::Foreign),
            }
        }
        // Once for all these answers: none of them has left yet.
        self.desk.settle(debt);
        self.counters
            .received
            .add(filled - backlog.read.len().min(filled));
        self.counters.sent.add(output.len());
        backlog.idle = rest.is_empty();
        if rest.is_empty() {
            backlog.read = Vec::new();
        } else {
            backlog.read = rest.to_vec();
        }
        rest.len() < filled
    }
}
