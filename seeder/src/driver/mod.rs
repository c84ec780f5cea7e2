//! One task owns one active torrent: the only loop that feeds its machine. It drains what the machine wants done, waits for
//! sockets, disk, commands or the deadline, and tells the machine what happened. It decides nothing.

mod files;
mod inside;
mod metadata;
mod webs;

pub(crate) use inside::Inside;
use inside::{Watch, connections_max, lacks, wait_in_line};
use webs::Webs;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::SmallRng;
use shared::geometry::{Block, PieceIndex};
use shared::hash_span::HashSpan;
use shared::merkle::Hash;
use shared::metainfo::{FileKind, Info};
use shared::peer_wire::{Handshake, Reserved, frame_limit};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::disk::{Credit, DiskNews, Opened, Writer};
use crate::engine::{Event, Mode, Shared, Spec, Stage, TorrentStatus};
use crate::net::handshake::HandshakeError;
use crate::net::line::Line;
use crate::net::pipe::{FromPeer, LINE_MAX, News, Pipe};
use crate::net::places::Place;
use crate::net::throttle::Gate;
use crate::net::uploader::Outgoing;
use crate::net::web_seed;
use crate::torrent::{Content, Direction, FileSpan, Input, Output, PeerKey, Settings, Status, Torrent, Why};

/// A torrent that needs nothing and has had no peer for so long sleeps without a task.
const REST_AFTER: Duration = Duration::from_secs(60);

/// One that misses something gives its known peers longer; then it sleeps until a tracker or a visitor brings one.
const REST_UNFINISHED_AFTER: Duration = Duration::from_secs(3 * 60);

/// How often somebody who watches a download hears of it.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What the disk has in hand when the program stops is finished, but not waited for longer than this.
const FLUSH_TIME: Duration = Duration::from_secs(3);

/// News of all peers that may wait for the driver. Each holds at most what one read brought.
const NEWS_MAX: usize = 64;

/// How often files are looked at that are being given or fetched.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The unit in which disk credit is handed out.
pub(crate) const CREDIT_UNIT: usize = 16 * 1024;

/// A download begins with at least so much credit.
const CREDIT_MIN: usize = 1 << 20;

/// A connection whose handshakes are done. It counts against the bound of connections as long as it lives.
#[derive(Debug)]
pub(crate) struct Visitor {
    pub(crate) line: Line,
    pub(crate) address: SocketAddr,
    pub(crate) handshake: Handshake,
    pub(crate) place: Place,
}

/// What the engine tells a driver.
#[derive(Debug)]
pub(crate) enum Command {
    Visitor(Visitor),
    Peers(Vec<SocketAddr>),
    Status(oneshot::Sender<Option<TorrentStatus>>),
    Inside(oneshot::Sender<Inside>),
    /// Its files, for a move.
    Lend(oneshot::Sender<Option<Opened>>),
    /// It is to be treated otherwise: look at the options.
    Treat,
}

/// A torrent that a driver gave back.
#[derive(Debug)]
pub(crate) struct Rested {
    /// Commands that came too late for the driver.
    pub(crate) commands: mpsc::Receiver<Command>,
    /// Its files, once they are known.
    pub(crate) opened: Option<Opened>,
    /// They were written to until the end.
    pub(crate) written: bool,
}

/// The driver's side of one connection.
#[derive(Debug)]
struct Peer {
    address: SocketAddr,
    encrypted: bool,
    line: mpsc::Sender<Outgoing>,
    pipe: AbortHandle,
}

/// Work that ends by itself.
enum Job {
    Dialed(SocketAddr, Result<(Line, Handshake, Place), HandshakeError>),
    Opened(Option<Box<Opened>>),
    Leaves(PeerKey, Box<HashSpan>, Option<Vec<Hash>>),
    Sealed,
    Granted(Option<Credit>),
    /// The files were looked at.
    Looked(Vec<DiskNews>),
    /// A web seed was looked up.
    WebSeed(u16, Result<Box<(web_seed::Found, Place)>, String>),
}

/// The task of one active torrent.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    spec: Arc<Spec>,
    torrent: Torrent,
    dice: SmallRng,
    opened: Option<Opened>,
    /// Metadata that lack the piece layers by which pieces are checked.
    bare: Option<Arc<Info>>,
    writer: Option<Writer>,
    peers: BTreeMap<PeerKey, Peer>,
    webs: Webs,
    pipes: JoinSet<()>,
    jobs: JoinSet<Job>,
    news: (mpsc::Sender<FromPeer>, mpsc::Receiver<FromPeer>),
    commands: mpsc::Receiver<Command>,
    /// Somebody wants it to end.
    leave: CancellationToken,
    /// What its own connections pay.
    gate: Gate,
    /// The disk's trouble, in words.
    trouble: Option<String>,
    /// The file on which somebody waits in vain, in words.
    silence: Option<String>,
    watch: Watch,
    /// Held while it may download.
    credit: Option<Credit>,
    rest_at: Option<Instant>,
    /// Files in trouble that were named already.
    troubled: BTreeSet<PathBuf>,
    /// The files are being looked at.
    looking: bool,
    /// Files of a finished download were changed by others.
    hands_off: bool,
}

impl Driver {
    /// Takes a torrent over and drives it until it may rest or the engine stops. Without content it is a magnet link.
    pub(crate) async fn run(
        (shared, spec): (Arc<Shared>, Arc<Spec>),
        opened: Option<Opened>,
        mut commands: mpsc::Receiver<Command>,
        leave: CancellationToken,
    ) -> Rested {
        let mut early = Vec::new();
        let credit = match spec.mode {
            Mode::Get if opened.as_ref().is_none_or(|opened| lacks(&spec, opened)) => {
                let device = shared.devices.of(&spec.root());
                let credit = device.credit(CREDIT_MIN / CREDIT_UNIT);
                let patience = wait_in_line(&spec, opened.as_ref(), &mut commands, &mut early);
                tokio::select! {
                    credit = credit => credit,
                    () = leave.cancelled() => None,
                    () = patience => None,
                }
            }
            _ => None,
        };
        let options = spec.options();
        let settings = Settings {
            disk_credit: credit
                .as_ref()
                .map_or(0, |credit| (credit.units() * CREDIT_UNIT) as u64),
            downloads: spec.mode == Mode::Get,
            super_seed: options.super_seed,
            upload_slots: options.limits.upload_slots,
            connections_max: connections_max(&shared, &options),
            ..Settings::default()
        };
        let content = opened.as_ref().map(content);
        let torrent = Torrent::new(shared.clock.now(), spec.identity, content, settings);
        let mut driver = Self {
            torrent,
            dice: rand::make_rng(),
            opened: None,
            bare: None,
            writer: None,
            peers: BTreeMap::new(),
            webs: Webs::new(&spec),
            pipes: JoinSet::new(),
            jobs: JoinSet::new(),
            news: mpsc::channel(NEWS_MAX),
            commands,
            leave,
            gate: spec.gate(shared.clock).clone(),
            trouble: None,
            silence: None,
            watch: Watch::default(),
            credit,
            rest_at: None,
            troubled: BTreeSet::new(),
            looking: false,
            hands_off: false,
            shared,
            spec,
        };
        if let Some(opened) = opened {
            driver.hold(opened);
        } else if let Some(bare) = driver.spec.bare.clone() {
            driver.take_info(bare);
        }
        driver.tell(Input::Wishes(options.wishes.clone()));
        let peers = driver.spec.peers.clone();
        driver.tell(Input::Peers { addresses: peers });
        for command in early {
            driver.obey(command);
        }
        driver.publish();
        driver.drive().await;
        driver.end().await
    }

    /// The loop. One call an arm.
    async fn drive(&mut self) {
        let stop = self.leave.clone();
        let timer = tokio::time::sleep_until(self.wake_at());
        let mut progress = tokio::time::interval(PROGRESS_EVERY);
        let mut look = tokio::time::interval(LOOK_EVERY);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(timer);
        loop {
            self.carry_out().await;
            self.tend_webs();
            let wake_at = self.wake_at();
            if timer.deadline() != wake_at {
                timer.as_mut().reset(wake_at);
            }
            tokio::select! {
                Some(news) = self.news.1.recv() => self.hear(news),
                Some(command) = self.commands.recv() => self.obey(command),
                Some(job) = self.jobs.join_next() => self.finish_job(job),
                Some(_) = self.pipes.join_next() => (),
                news = files::disk_news(&mut self.writer) => self.hear_disk(news),
                _ = progress.tick() => self.report_progress(),
                _ = look.tick(), if !self.peers.is_empty() => self.look(),
                () = &mut timer => if self.wake() { break },
                () = stop.cancelled() => break,
            }
        }
    }

    /// Puts a finite end to what is under way, and gives back what the next driver needs.
    async fn end(mut self) -> Rested {
        self.pipes.shutdown().await;
        self.jobs.abort_all();
        self.commands.close();
        let written = self.writer.is_some() || self.credit.is_some();
        self.shared
            .wasted
            .fetch_add(self.torrent.status().wasted, Ordering::Relaxed);
        if let Some(mut writer) = self.writer.take() {
            let flush = async {
                while !writer.is_idle() {
                    writer.news().await;
                }
            };
            if tokio::time::timeout(FLUSH_TIME, flush).await.is_err() {
                warn!(torrent = %self.spec.label, "the disk did not finish in time");
            }
        }
        if let Some(opened) = &mut self.opened {
            if let Some(have) = self.torrent.have() {
                opened.have = have.clone();
            }
            let opened = opened.clone();
            let remembered = tokio::task::spawn_blocking(move || opened.remember());
            if let Ok(Err(error)) = remembered.await {
                warn!(%error, "what was verified is not remembered");
            }
            // Ten thousand torrents that sleep must not hold ten thousand files.
            self.opened.iter().for_each(|opened| opened.storage.rest());
        }
        Rested {
            commands: self.commands,
            opened: self.opened,
            written,
        }
    }

    fn tell(&mut self, input: Input) {
        self.torrent
            .handle(self.shared.clock.now(), input, &mut self.dice);
    }

    fn wake_at(&mut self) -> Instant {
        let clock = self.shared.clock;
        let far = clock.after(Duration::from_secs(3600));
        let deadline = self
            .torrent
            .deadline()
            .map_or(far, |deadline| clock.instant(deadline));
        let idle = self.writer.as_ref().is_none_or(Writer::is_idle);
        let rests = idle && self.opened.is_some() && self.peers.is_empty() && self.jobs.is_empty();
        if !rests {
            self.rest_at = None;
            return deadline;
        }
        let after = if self.writer.is_some() {
            REST_UNFINISHED_AFTER
        } else {
            REST_AFTER
        };
        let rest_at = *self.rest_at.get_or_insert_with(|| clock.after(after));
        deadline.min(rest_at)
    }

    /// The timer rang: true if it is time to rest.
    fn wake(&mut self) -> bool {
        let now = self.shared.clock.after(Duration::ZERO);
        if self.rest_at.is_some_and(|at| at <= now) {
            return true;
        }
        self.tell(Input::Tick);
        false
    }

    /// Does everything the machine wants done by now.
    async fn carry_out(&mut self) {
        while let Some(output) = self.torrent.poll() {
            match output {
                Output::Send { peer, message } => self.send(peer, Outgoing::Message(message)),
                Output::Serve { peer, blocks } => self.serve(peer, blocks),
                Output::Store { block, data } => self.store(block, data),
                Output::Verify { piece } => self.verify(piece),
                Output::Dial { address } => self.dial(address),
                Output::Disconnect { peer, why } => self.disconnect(peer, &why),
                Output::Ban { address, why } => self.ban(address, &why),
                Output::BanWebSeed { seed, why } => self.ban_web(seed, &why),
                Output::Metadata { info } => self.take_metadata(&info),
                Output::Layers { layers } => self.take_layers(layers),
                Output::Leaves { peer, span, piece } => self.read_leaves(peer, span, piece),
                Output::WantPeers => self.shared.trackers.want_peers(self.spec.key).await,
                Output::PieceDone { piece } => self.piece_done(piece),
                Output::CopySeen { address } => {
                    let now = self.shared.clock.unix_now().unsigned_abs();
                    self.spec.copies().saw(address, now);
                }
                Output::Unfinished => self.unfinished(),
                Output::Finished => self.finished(),
            }
        }
    }

    fn send(&mut self, peer: PeerKey, what: Outgoing) {
        let Some(there) = self.peers.get(&peer) else {
            return;
        };
        if there.line.try_send(what).is_err() {
            debug!(address = %there.address, "let go: it does not read");
            self.forget(peer);
            self.tell(Input::Disconnected { peer });
        }
    }

    fn serve(&mut self, peer: PeerKey, blocks: Vec<Block>) {
        if let Some(opened) = &self.opened {
            let serve = Outgoing::Serve(Arc::clone(&opened.storage), blocks);
            self.send(peer, serve);
        }
    }

    fn dial(&mut self, address: SocketAddr) {
        let (shared, spec, ours) = (Arc::clone(&self.shared), Arc::clone(&self.spec), self.handshake());
        self.jobs.spawn(async move {
            let Some(place) = shared.place(address.ip()) else {
                let refused = std::io::Error::other("no place for another connection");
                return Job::Dialed(address, Err(refused.into()));
            };
            let dialed = shared.dialer.dial(address, ours, &spec.info_hashes).await;
            let dialed = match (dialed, spec.info_hashes.get(1)) {
                // A peer that knows a hybrid by its second hash alone hangs up at the first.
                (Err(error), Some(second)) if error.is_hang_up() => {
                    let ours = Handshake {
                        info_hash: *second,
                        ..ours
                    };
                    shared.dialer.dial(address, ours, &spec.info_hashes).await
                }
                (dialed, _) => dialed,
            };
            Job::Dialed(address, dialed.map(|(line, theirs)| (line, theirs, place)))
        });
    }

    fn handshake(&self) -> Handshake {
        let identity = self.spec.identity;
        Handshake {
            reserved: Reserved::ours(identity.info_hash_v2.is_some()),
            info_hash: identity.info_hash,
            peer_id: identity.peer_id,
        }
    }

    fn disconnect(&mut self, peer: PeerKey, why: &Why) {
        self.web_dismissed(peer, why);
        if let Some(gone) = self.forget(peer) {
            debug!(address = %gone.address, %why, torrent = %self.spec.label, "disconnected");
        }
    }

    fn forget(&mut self, peer: PeerKey) -> Option<Peer> {
        let gone = self.peers.remove(&peer)?;
        gone.pipe.abort();
        self.webs.left(peer);
        Some(gone)
    }

    fn ban(&mut self, address: std::net::IpAddr, why: &Why) {
        warn!(%address, %why, torrent = %self.spec.label, "banned");
        self.shared.ban(address);
        self.shared.event(Event::Banned {
            key: self.spec.key,
            address,
            why: why.to_string(),
        });
    }

    fn piece_done(&mut self, piece: PieceIndex) {
        self.count_left();
        self.shared.event(Event::PieceDone {
            key: self.spec.key,
            piece: piece.number(),
        });
    }

    fn count_left(&self) {
        let status = self.torrent.status();
        let counters = &self.spec.counters;
        counters.set_left(status.total_bytes - status.have_bytes);
        counters.set_partial(status.left_bytes == 0 && status.have_bytes < status.total_bytes);
    }

    /// Something is to be written again: memory for it is asked for, and the disk opened with it.
    fn unfinished(&mut self) {
        // What somebody changed in a finished download is his: nothing is written over it before it is checked again.
        if self.hands_off {
            return;
        }
        let device = self.shared.devices.of(&self.spec.root());
        self.jobs
            .spawn(async move { Job::Granted(device.credit(CREDIT_MIN / CREDIT_UNIT).await) });
    }

    fn open_disk(&mut self, credit: Credit) {
        let bytes = (credit.units() * CREDIT_UNIT) as u64;
        self.credit = Some(credit);
        if let Some(mut opened) = self.opened.take() {
            opened.storage.unseal();
            if let Some(have) = self.torrent.have() {
                opened.have = have.clone();
            }
            self.hold(opened);
            self.tell(Input::Disk { credit: bytes });
        }
    }

    /// Takes the files over; from now on the machine knows what is there.
    fn hold(&mut self, opened: Opened) {
        if let Some(credit) = self.credit.as_ref().filter(|_| lacks(&self.spec, &opened)) {
            self.writer = Some(Writer::new(
                &opened,
                self.shared.clock,
                (credit.units() * CREDIT_UNIT) as u64,
            ));
        } else {
            self.credit = None;
        }
        self.opened = Some(opened);
    }

    fn hear(&mut self, FromPeer { peer, news }: FromPeer) {
        if let News::Served(bytes) = news {
            self.spec.counters.add_uploaded(bytes);
        }
        // What a peer said before it was let go no longer matters.
        let Some(there) = self.peers.get(&peer) else {
            return;
        };
        match news {
            News::Messages(messages) => {
                self.web_spoke(peer, &messages);
                for message in messages {
                    self.tell(Input::Message { peer, message });
                }
            }
            News::Served(bytes) => self.tell(Input::Served { peer, bytes }),
            News::Unserved(block, trouble) => {
                self.report_trouble(block.piece(), &trouble);
                self.tell(Input::Unserved { peer, block });
            }
            News::Ended(end) => {
                debug!(address = %there.address, %end, "connection ended");
                self.peers.remove(&peer);
                self.web_ended(peer);
                self.tell(Input::Disconnected { peer });
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Visitor(Visitor {
                line,
                address,
                handshake,
                place,
            }) => {
                self.connect(line, (address, Direction::Incoming), handshake, place);
            }
            Command::Peers(addresses) => self.tell(Input::Peers { addresses }),
            Command::Treat => self.treat(),
            Command::Lend(answer) => _ = answer.send(self.lend()),
            Command::Inside(answer) => _ = answer.send(self.inside()),
            // Who asked may have gone, here and above.
            Command::Status(answer) => {
                _ = answer.send(Some(status_of(&self.spec, self.torrent.status())));
            }
        }
    }

    fn connect(
        &mut self,
        line: Line,
        (address, direction): (SocketAddr, Direction),
        handshake: Handshake,
        place: Place,
    ) {
        let (peer, encrypted) = (self.shared.next_peer(), line.is_encrypted());
        let (sender, waiting) = mpsc::channel(LINE_MAX);
        let geometry = self.opened.as_ref().map(|opened| opened.storage.geometry());
        let pipe = Pipe {
            peer,
            line,
            frame_limit: frame_limit(geometry),
            readers: Arc::clone(&self.shared.readers),
            tolls: self.shared.gates.tolls(&self.gate, address.ip()),
            news: self.news.0.clone(),
        };
        let pipe = self.pipes.spawn(async move {
            pipe.run(waiting).await;
            drop(place);
        });
        self.peers.insert(
            peer,
            Peer {
                address,
                encrypted,
                line: sender,
                pipe,
            },
        );
        self.tell(Input::Connected {
            peer,
            address,
            direction,
            handshake,
        });
    }

    fn finish_job(&mut self, job: Result<Job, JoinError>) {
        match job {
            Ok(Job::Dialed(address, Ok((line, handshake, place)))) => {
                self.connect(line, (address, Direction::Outgoing), handshake, place);
            }
            Ok(Job::Dialed(address, Err(error))) => {
                debug!(%address, %error, "not connected");
                self.tell(Input::DialFailed { address });
            }
            Ok(Job::Leaves(peer, span, leaves)) => self.tell(Input::Leaves { peer, span, leaves }),
            Ok(Job::Opened(None)) => warn!(torrent = %self.spec.label, "its files could not be looked at"),
            Ok(Job::Opened(Some(opened))) => {
                self.shared.report_opened(&self.spec, &opened);
                let content = content(&opened);
                self.hold(*opened);
                self.tell(Input::Content(content));
            }
            Ok(Job::Granted(credit)) => {
                if let Some(credit) = credit {
                    self.open_disk(credit);
                }
            }
            Ok(Job::Looked(news)) => {
                self.looking = false;
                self.hear_disk(news);
            }
            Ok(Job::WebSeed(number, sought)) => self.web_found(number, sought),
            Ok(Job::Sealed) => {
                info!(torrent = %self.spec.label, "complete");
                self.shared.event(Event::Finished { key: self.spec.key });
            }
            Err(error) => warn!(%error, "a job of the driver came to nothing"),
        }
    }
}

/// What a torrent with these facts is at.
pub(crate) fn stage_of(spec: &Spec, facts: &Status) -> Stage {
    match spec.mode {
        _ if !facts.metadata => Stage::Metadata,
        Mode::Get if facts.left_count > 0 => Stage::Downloading,
        _ => Stage::Seeding,
    }
}

/// The facts of a torrent, for those who ask.
pub(crate) fn status_of(spec: &Spec, facts: Status) -> TorrentStatus {
    TorrentStatus {
        info_hash: spec.identity.info_hash,
        stage: stage_of(spec, &facts),
        facts,
    }
}

/// What the machine needs to know of an open torrent.
fn content(opened: &Opened) -> Content {
    let info = opened.storage.info();
    Content {
        geometry: info.geometry().clone(),
        have: opened.have.clone(),
        info: info.raw_bytes(),
        private: info.private(),
        files: file_spans(info),
        trees: info.trees().clone(),
    }
}

fn file_spans(info: &Info) -> Arc<[FileSpan]> {
    let spans = info.files().iter().map(|file| FileSpan {
        start: file.offset,
        length: file.length,
        padding: file.kind == FileKind::Padding,
    });
    spans.collect()
}
