//! One task owns one active torrent: the only loop that feeds its machine. It drains what the machine wants done, waits for
//! sockets, disk, commands or the deadline, and tells the machine what happened. It decides nothing.

mod files;
mod inside;
mod links;
mod memory;
mod metadata;
mod webs;

pub(crate) use inside::{Inside, lacks};
use inside::{Watch, connections_max};
use webs::Webs;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::SmallRng;
use shared::geometry::PieceIndex;
use shared::hash_span::HashSpan;
use shared::merkle::Hash;
use shared::metainfo::{FileKind, Info};
use shared::moment::Moment;
use shared::peer_wire::Handshake;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::disk::{Credit, DiskNews, Opened, Writer};
use crate::engine::{Event, Mode, Shared, Spec, Stage, TorrentStatus};
use crate::library::progress::Progress;
use crate::net::handshake::HandshakeError;
use crate::net::line::Line;
use crate::net::pipe::FromPeer;
use crate::net::places::Place;
use crate::net::throttle::Gate;
use crate::net::uploader::Outgoing;
use crate::net::web_seed;
use crate::torrent::{Content, Direction, FileSpan, Input, Output, PeerKey, Settings, Status, Torrent};

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
    /// It super-seeded until others had everything.
    pub(crate) shown: bool,
    /// Why it can never become a torrent.
    pub(crate) refused: Option<String>,
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
    /// All that is wanted has had its last touch.
    Sealed,
    /// Files that are wanted now are in their places.
    Placed,
    /// The metadata may be used, or not.
    Allowed(Arc<Info>, Result<(), String>),
    Granted(Option<Credit>),
    /// The files were looked at.
    Looked(Vec<DiskNews>),
    /// A web seed was looked up.
    WebSeed(u16, Result<Box<(web_seed::Found, Place)>, String>),
}

/// The task of one active torrent.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
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
    /// It waits for that.
    in_line: bool,
    /// How much had come, and when that last was more.
    fetched: (u64, Moment),
    rest_at: Option<Instant>,
    /// Files in trouble that were named already.
    troubled: BTreeSet<PathBuf>,
    /// The files are being looked at.
    looking: bool,
    /// Files that are wanted now are being put into their places.
    placing: bool,
    /// What the machine was last told of super-seeding, which it ends by itself.
    super_seeds: bool,
    /// How far a check is that follows the metadata of a link.
    checking: Option<Arc<Progress>>,
    /// Why the metadata cannot be used.
    refused: Option<String>,
}

impl Driver {
    /// Takes a torrent over and drives it until it may rest or the engine stops. Without content it is a magnet link.
    pub(crate) async fn run(
        (shared, spec): (Arc<Shared>, Arc<Spec>),
        opened: Option<Opened>,
        commands: mpsc::Receiver<Command>,
        leave: CancellationToken,
    ) -> Rested {
        let content = opened.as_ref().map(|opened| content(&spec, opened));
        let settings = settings(&shared, &spec);
        let super_seeds = settings.super_seed;
        let torrent = Torrent::new(shared.clock.now(), spec.identity(), content, settings);
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
            credit: None,
            in_line: false,
            fetched: (0, shared.clock.now()),
            rest_at: None,
            troubled: BTreeSet::new(),
            looking: false,
            placing: false,
            super_seeds,
            checking: None,
            refused: None,
            shared,
            spec,
        };
        if let Some(opened) = opened {
            driver.hold(opened);
        } else if let Some(bare) = driver.spec.bare.clone() {
            driver.take_info(bare);
        }
        let peers = driver.spec.peers.clone();
        driver.tell(Input::Peers { addresses: peers });
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
            if self.refused.is_some() {
                break;
            }
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
            shown: self.super_seeds && self.torrent.is_complete() && !self.torrent.is_super_seeding(),
            refused: self.refused,
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
                self.checking = None;
                self.shared.report_opened(&self.spec, &opened);
                let content = content(&self.spec, &opened);
                self.hold(*opened);
                self.tell(Input::Content(content));
            }
            Ok(Job::Granted(credit)) => self.granted(credit),
            Ok(Job::Looked(news)) => {
                self.looking = false;
                self.hear_disk(news);
            }
            Ok(Job::WebSeed(number, sought)) => self.web_found(number, sought),
            Ok(Job::Sealed) => self.sealed(),
            Ok(Job::Placed) => self.placed(),
            Ok(Job::Allowed(info, Ok(()))) => self.open(info),
            Ok(Job::Allowed(_, Err(reason))) => self.refuse(reason),
            Err(error) => warn!(%error, "a job of the driver came to nothing"),
        }
    }
}

/// Bounds and habits of a torrent.
fn settings(shared: &Shared, spec: &Spec) -> Settings {
    let options = spec.options();
    Settings {
        // Memory is asked for when there is something to fetch.
        disk_credit: 0,
        downloads: spec.fetches(),
        wishes: options.wishes.clone(),
        super_seed: options.super_seed,
        upload_slots: options.limits.upload_slots,
        connections_max: connections_max(shared, &options),
        ..Settings::default()
    }
}

/// What a torrent with these facts is at.
pub(crate) fn stage_of(spec: &Spec, facts: &Status) -> Stage {
    match spec.mode {
        _ if !facts.metadata => Stage::Metadata,
        Mode::Get if facts.left_count > 0 && spec.fetches() => Stage::Downloading,
        _ => Stage::Seeding,
    }
}

/// The facts of a torrent, for those who ask.
pub(crate) fn status_of(spec: &Spec, facts: Status) -> TorrentStatus {
    TorrentStatus {
        info_hash: spec.info_hash(),
        stage: stage_of(spec, &facts),
        facts,
    }
}

/// What the machine needs to know of an open torrent.
fn content(spec: &Spec, opened: &Opened) -> Content {
    let info = opened.storage.info();
    let layered = spec.layered().unwrap_or(info);
    Content {
        geometry: info.geometry().clone(),
        have: opened.have.clone(),
        info: info.raw_bytes(),
        private: info.private(),
        files: file_spans(info),
        trees: layered.trees().clone(),
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
