//! The door side of a lane: accepts connections of every kind, reads at once from those that may be done at once, and goes on
//! with the others. Everything that is neither an announce nor a scrape leaves for the [`Site`] on the main runtime.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy, duplex, split};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error};

use super::conversation::{Backlog, Conversation, End};
use super::desk::Caller;
use super::doors::Door;
use super::lane::{Front, Lane, Times};
use super::site::Site;
use edge::Rewound;

use super::doors;
use super::forwarded::take_slot;
use super::tls::Certificate;
use crate::metrics::{Counters, Reason};
use edge::listen;
use edge::slots::{Slot, Slots};

/// Bytes of a page on their way between a lane and the main runtime.
const BRIDGE: usize = 16 * 1024;

/// What all lanes have in common.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub front: Front,
    pub site: Arc<Site>,
    pub slots: Arc<Slots>,
    pub stop: CancellationToken,
}

/// Runs a lane on this thread until it is told to stop and its last answers are sent, or `patience` is over.
pub(crate) fn run(shared: Shared, counters: Arc<Counters>, doors: Vec<Door>, patience: Duration) {
    match Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
    {
        // Dropping the runtime closes whatever is still open.
        Ok(runtime) => attend(&runtime, shared, counters, doors, patience),
        Err(error) => error!(%error, "a lane cannot start"),
    }
}

fn attend(
    runtime: &LocalRuntime,
    shared: Shared,
    counters: Arc<Counters>,
    doors: Vec<Door>,
    patience: Duration,
) {
    let stop = shared.stop.clone();
    let lane = Rc::new(Lane::new(&shared.front, counters));
    let porter = Rc::new(Porter {
        shared,
        lane: Rc::clone(&lane),
    });
    runtime.block_on(async {
        let accepting: Vec<_> = doors
            .into_iter()
            .map(|door| spawn_owned(Rc::clone(&porter).accept_always(door)))
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
    async fn accept_always(self: Rc<Self>, door: Door) {
        loop {
            let accepting = match door.try_clone() {
                Ok(door) => spawn_owned(Rc::clone(&self).accept(door)).await,
                Err(error) => return error!(%error, "a lane cannot accept connections"),
            };
            match accepting {
                Err(error) if error.is_panic() => error!(%error, "an answer went wrong; please report this"),
                Err(_) => return,
                Ok(error) => return error!(%error, "a lane cannot accept connections"),
            }
        }
    }

    async fn accept(self: Rc<Self>, door: Door) -> io::Error {
        let counters = &self.lane.counters;
        match door {
            Door::Tcp(listener) => {
                let greet = |stream, from| self.greet(stream, from);
                listen::accept_each(listener, || counters.accept_failures.add(1), greet).await
            }
            Door::Tls(listener, certificate) => {
                let greet = |stream, from| self.greet_tls(stream, from, &certificate);
                listen::accept_each(listener, || counters.accept_failures.add(1), greet).await
            }
            Door::Unix(socket) => {
                let greet = |stream| self.greet_unix(stream);
                doors::accept_each(&socket, counters, greet).await
            }
        }
    }

    fn greet(self: &Rc<Self>, mut stream: std::net::TcpStream, from: SocketAddr) {
        let Some(slot) = self.seat(&mut stream, Some(from)) else {
            return;
        };
        let caller = Caller::on(&stream, from);
        match self.hear(&mut stream, caller) {
            Ok(Some(backlog)) => self.attend(stream, caller, backlog, slot),
            Ok(None) => (),
            Err(error) => debug!(%error, "a connection was lost"),
        }
    }

    /// Room for a connection; without any it is turned away.
    fn seat(&self, stream: &mut (impl io::Read + io::Write), from: Option<SocketAddr>) -> Option<Slot> {
        let counters = &self.lane.counters;
        counters.connections.add(1);
        match take_slot(&self.shared.slots, &self.shared.front.trust, from) {
            Ok(slot) => Some(slot),
            Err(full) => {
                counters.error(full.into());
                doors::turn_away(stream);
                None
            }
        }
    }

    fn greet_unix(self: &Rc<Self>, mut stream: std::os::unix::net::UnixStream) {
        let Some(slot) = self.seat(&mut stream, None) else {
            return;
        };
        let porter = Rc::clone(self);
        let Ok(stream) = tokio::net::UnixStream::from_std(stream) else {
            return;
        };
        drop(tokio::task::spawn_local(async move {
            let caller = Caller::on_unix_socket();
            let mut conversation = Conversation::new(&porter.lane, stream, caller, Backlog::default());
            if conversation.talk(&porter.lane).await == End::Foreign
                && let Ok(stream) = conversation.stream.into_std()
            {
                let open = move || tokio::net::UnixStream::from_std(stream);
                porter.hand_over(open, caller, conversation.backlog.read, slot);
            }
        }));
    }

    fn greet_tls(self: &Rc<Self>, stream: std::net::TcpStream, from: SocketAddr, certificate: &Certificate) {
        let counters = &self.lane.counters;
        counters.connections.add(1);
        let Ok(slot) = take_slot(&self.shared.slots, &self.shared.front.trust, Some(from)) else {
            // Who speaks TLS understands nothing that could be said in a hurry.
            counters.error(Reason::Busy);
            return;
        };
        let caller = Caller::on(&stream, from);
        let (porter, acceptor) = (Rc::clone(self), certificate.acceptor());
        let Ok(stream) = TcpStream::from_std(stream) else {
            return;
        };
        drop(tokio::task::spawn_local(async move {
            let times = porter.lane.times;
            match tokio::time::timeout(times.head, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => porter.talk_tls(stream, caller, slot).await,
                Ok(Err(error)) => {
                    porter.lane.counters.error(Reason::Malformed);
                    debug!(%error, "no TLS came of it");
                }
                Err(_) => porter.lane.note_slow(),
            }
        }));
    }

    /// A conversation that cannot leave this thread: where it turns to pages, their bytes go through a bridge.
    async fn talk_tls<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, caller: Caller, slot: Slot) {
        let mut conversation = Conversation::new(&self.lane, stream, caller, Backlog::default());
        let end = conversation.talk(&self.lane).await;
        let mut stream = Rewound::new(conversation.stream, Vec::new(), self.lane.times.write);
        if end == End::Closed {
            let _ = tokio::time::timeout(self.lane.times.write, stream.shutdown()).await;
            return;
        }
        let (near, far) = duplex(BRIDGE);
        self.hand_over(move || Ok(far), caller, conversation.backlog.read, slot);
        bridge(stream, near).await;
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
            return self.hand_over(|| TcpStream::from_std(stream), caller, backlog.read, slot);
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
                Ok(stream) => {
                    let open = || TcpStream::from_std(stream);
                    self.hand_over(open, caller, conversation.backlog.read, slot);
                }
                Err(error) => debug!(%error, "a connection was lost"),
            }
        }
    }

    fn hand_over<S>(
        &self,
        open: impl FnOnce() -> io::Result<S> + Send + 'static,
        caller: Caller,
        read: Vec<u8>,
        slot: Slot,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.lane.counters.handed_over.add(1);
        self.shared.site.receive(open, caller, read, slot);
    }
}

/// Carries bytes both ways until the site has said all it wants to say.
async fn bridge(stream: impl AsyncRead + AsyncWrite, near: impl AsyncRead + AsyncWrite) {
    let ((mut from_client, mut to_client), (mut from_site, mut to_site)) = (split(stream), split(near));
    let up = async {
        let _ = copy(&mut from_client, &mut to_site).await;
        let _ = to_site.shutdown().await;
        std::future::pending::<()>().await;
    };
    let down = async {
        let _ = copy(&mut from_site, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::select! {
        () = up => (),
        () = down => (),
    }
}
