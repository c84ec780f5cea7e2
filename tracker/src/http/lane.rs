//! A lane: one thread with a runtime of its own that accepts connections, reads at once, and answers announces and
//! scrapes without leaving the thread. Most clients open a connection for one announce; those are answered before their
//! socket was ever registered anywhere. Everything that is not an announce or a scrape leaves for the [`Site`].

use std::cell::{Cell, RefCell, RefMut};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use shared::moment::Moment;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error};

use super::conversation::{Backlog, Conversation, End};
use super::desk::{Caller, Desk, Question, Via};
use super::forwarded::Trust;
use super::head::{self, Ask, Head};
use super::site::Site;
use super::slots::{Full, Slot, Slots};
use super::{listen, reply};
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

/// What all lanes have in common.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub front: Front,
    pub site: Arc<Site>,
    pub slots: Arc<Slots>,
    pub stop: CancellationToken,
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
    counters: Arc<Counters>,
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
                    self.desk.answer(question, &self.counters, dice, body);
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

/// Runs a lane on this thread until it is told to stop and its last answers are sent, or `patience` is over.
pub(crate) fn run(shared: Shared, counters: Arc<Counters>, listeners: Vec<TcpListener>, patience: Duration) {
    match Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
    {
        // Dropping the runtime closes whatever is still open.
        Ok(runtime) => attend(&runtime, shared, counters, listeners, patience),
        Err(error) => error!(%error, "a lane cannot start"),
    }
}

fn attend(
    runtime: &LocalRuntime,
    shared: Shared,
    counters: Arc<Counters>,
    listeners: Vec<TcpListener>,
    patience: Duration,
) {
    let stop = shared.stop.clone();
    let lane = Rc::new(Lane::new(&shared.front, counters));
    let porter = Rc::new(Porter {
        shared,
        lane: Rc::clone(&lane),
    });
    runtime.block_on(async {
        let accepting: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                let porter = Rc::clone(&porter);
                spawn_owned(porter.accept_always(listener))
            })
            .collect();
        let ticking = spawn_owned(tick(lane.times));
        stop.cancelled().await;
        drop((accepting, ticking));
        let _ = tokio::time::timeout(patience, lane.finish()).await;
    });
}

/// Keeps a timer in the near future. A timer that is set before all others makes the runtime wake itself, at the cost of two
/// system calls; behind this one, no connection's deadline ever is the first.
async fn tick(times: Times) {
    let period = times.head.min(times.idle).min(times.write) / 2;
    loop {
        tokio::time::sleep(period).await;
    }
}

/// A task that ends with its handle.
fn spawn_owned<T: 'static>(task: impl Future<Output = T> + 'static) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::task::spawn_local(task))
}

/// Receives connections and finds out what they want.
struct Porter {
    shared: Shared,
    lane: Rc<Lane>,
}

impl Porter {
    /// Accepts even after a mistake of ours in answering someone: it must not close the port.
    async fn accept_always(self: Rc<Self>, listener: TcpListener) {
        loop {
            let accepting = match listener.try_clone() {
                Ok(listener) => spawn_owned(Rc::clone(&self).accept(listener)).await,
                Err(error) => return error!(%error, "a lane cannot accept connections"),
            };
            match accepting {
                Err(error) if error.is_panic() => error!(%error, "an answer went wrong; please report this"),
                Err(_) => return,
                Ok(error) => return error!(%error, "a lane cannot accept connections"),
            }
        }
    }

    async fn accept(self: Rc<Self>, listener: TcpListener) -> io::Error {
        let greet = |stream, from| self.greet(stream, from);
        listen::accept_each(listener, &self.lane.counters, greet).await
    }

    fn greet(self: &Rc<Self>, mut stream: std::net::TcpStream, from: SocketAddr) {
        let counters = &self.lane.counters;
        counters.connections.add(1);
        match take_slot(&self.shared.slots, &self.shared.front.trust, from) {
            Ok(slot) => {
                let caller = Caller::on(&stream, from);
                match self.hear(&mut stream, caller) {
                    Ok(Some(backlog)) => self.attend(stream, caller, backlog, slot),
                    Ok(None) => (),
                    Err(error) => debug!(%error, "a connection was lost"),
                }
            }
            Err(full) => {
                counters.error(full.into());
                turn_away(stream);
            }
        }
    }

    /// Reads and answers at once, in the hope that this is all. What is left over is returned.
    fn hear(&self, stream: &mut std::net::TcpStream, caller: Caller) -> io::Result<Option<Backlog>> {
        let mut backlog = Backlog::default();
        let scratch = &mut *self.lane.scratch();
        let filled = match stream.read(&mut scratch.input) {
            Ok(0) => return Ok(None),
            Ok(filled) => filled,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(backlog)),
            Err(error) => return Err(error),
        };
        self.lane.answer(scratch, filled, caller, &mut backlog);
        if !scratch.output.is_empty() {
            let sent = match stream.write(&scratch.output) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                result => result.unwrap_or(0),
            };
            backlog
                .unsent
                .extend_from_slice(scratch.output.get(sent..).unwrap_or_default());
        }
        let done = backlog.unsent.is_empty() && backlog.end == Some(End::Closed);
        Ok((!done).then_some(backlog))
    }

    /// Goes on with a connection that stays.
    fn attend(self: &Rc<Self>, stream: std::net::TcpStream, caller: Caller, backlog: Backlog, slot: Slot) {
        if backlog.unsent.is_empty() && backlog.end == Some(End::Foreign) {
            return self.hand_over(stream, caller, backlog.read, slot);
        }
        let porter = Rc::clone(self);
        match TcpStream::from_std(stream) {
            Ok(stream) => drop(tokio::task::spawn_local(async move {
                porter.talk(stream, caller, backlog, slot).await;
            })),
            Err(error) => debug!(%error, "a connection was lost"),
        }
    }

    async fn talk(&self, stream: TcpStream, caller: Caller, backlog: Backlog, slot: Slot) {
        let mut conversation = Conversation::new(&self.lane, stream, caller, backlog);
        if conversation.talk(&self.lane).await == End::Foreign {
            match conversation.stream.into_std() {
                Ok(stream) => self.hand_over(stream, caller, conversation.backlog.read, slot),
                Err(error) => debug!(%error, "a connection was lost"),
            }
        }
    }

    fn hand_over(&self, stream: std::net::TcpStream, caller: Caller, read: Vec<u8>, slot: Slot) {
        self.lane.counters.handed_over.add(1);
        self.shared.site.receive(stream, caller, read, slot);
    }
}

/// Room for a connection. A trusted proxy speaks for many, and is bounded only by the whole.
pub(crate) fn take_slot(slots: &Arc<Slots>, trust: &Trust, from: SocketAddr) -> Result<Slot, Full> {
    if trust.trusts(from.ip()) {
        slots.take_shared()
    } else {
        slots.take(from.ip())
    }
}

/// Says that there is no room. What the client has said is read first: closing with unread bytes would destroy the answer.
pub(crate) fn turn_away(mut stream: std::net::TcpStream) {
    let mut said = [0; 2_048];
    let _ = stream.read(&mut said);
    let _ = stream.write(reply::BUSY);
}
