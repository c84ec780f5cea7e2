//! One row of the table: a torrent, what it is at, and what is to become of it.

use std::sync::Arc;

use shared::bitfield::Bitfield;
use shared::id::InfoHash;
use shared::moment::Moment;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::api::{AddError, AddTorrent, Check, Stage, TorrentKey};
use super::change::{ChangeError, Content};
use super::spec::{Knows, Live, Spec, Sums, Wanted, wanted};
use crate::disk::Opened;
use crate::driver::{Command, stage_of};
use crate::library::progress::Progress;
use crate::torrent::Status;

/// Commands for a torrent whose files are being looked at; more visitors at once are turned away.
const WAITING_MAX: usize = 8;

/// Who adds a torrent that is just being removed waits for the end of that; so many of them.
const AGAIN_MAX: usize = 16;

pub(super) type Answer<T, E> = oneshot::Sender<Result<T, E>>;

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Entry {
    pub(super) spec: Arc<Spec>,
    pub(super) state: State,
    pub(super) paused: bool,
    /// The goal that was reached, in words.
    pub(super) reached: Option<Box<str>>,
    /// Its trackers were told of it.
    pub(super) announced: bool,
    /// Its files are on their way to another place: nobody else touches them.
    pub(super) moving: bool,
    /// To be looked at again, when whoever works on it has ended.
    pub(super) recheck: Option<Check>,
    pub(super) removal: Option<Box<Removal>>,
    /// What its trackers last complained of.
    pub(super) complaint: Option<Box<str>>,
    /// Seconds as a seed before `seeding_since`.
    pub(super) seeded: u64,
    pub(super) seeding_since: Option<Moment>,
    /// What of it the store has.
    pub(super) saved: Sums,
    pub(super) saved_copies: u32,
    pub(super) saved_info: Knows,
    pub(super) saved_done: bool,
    /// What is wanted of it and missing, while nobody works on it: a list of ten thousand torrents must not go through the
    /// pieces of each.
    rest: Option<Wanted>,
}

/// It is to go, as soon as whoever works on it has ended.
#[derive(Debug)]
pub(super) struct Removal {
    pub(super) content: Content,
    pub(super) answers: Vec<Answer<(), ChangeError>>,
    /// Who wants to add it again, after that.
    again: Vec<(Box<AddTorrent>, Answer<TorrentKey, AddError>)>,
}

#[derive(Debug)]
pub(super) enum State {
    Opening(Box<Looking>),
    Awake(Awake),
    /// Nobody needs it to do anything; its files are known.
    Asleep(Opened),
    /// It rests, and its files are to be looked at before it goes on: so much was there.
    Parked(Bitfield),
    /// A magnet link that rests before its metadata are here.
    Blank,
    /// It cannot go on by itself. It stays in the table, so that nobody adds it to the same end.
    Broken(Box<str>),
}

/// Its files are being looked at.
#[derive(Debug)]
pub(super) struct Looking {
    pub(super) check: Check,
    pub(super) progress: Arc<Progress>,
    pub(super) stop: CancellationToken,
    /// How much of it was told.
    pub(super) told: u32,
    pub(super) waiting: Vec<Command>,
}

/// It has a driver.
#[derive(Debug)]
pub(super) struct Awake {
    pub(super) driver: mpsc::Sender<Command>,
    /// Asks the driver to end.
    pub(super) leave: CancellationToken,
}

impl Looking {
    pub(super) fn wait(&mut self, command: Command) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push(command);
        }
    }

    /// Hashing as (done, of) in pieces; nothing where there is nothing to hash.
    pub(super) fn hashing(&self, piece_length: u32) -> Option<(u32, u32)> {
        self.progress.in_pieces(piece_length)
    }
}

impl Removal {
    pub(super) fn new(content: Content) -> Self {
        Self {
            content,
            answers: Vec::new(),
            again: Vec::new(),
        }
    }

    /// Adds it again afterwards.
    pub(super) fn wait(
        &mut self,
        torrent: Box<AddTorrent>,
        answer: Answer<TorrentKey, AddError>,
        hash: InfoHash,
    ) {
        if self.again.len() < AGAIN_MAX {
            self.again.push((torrent, answer));
        } else {
            // Whoever asked may have gone.
            _ = answer.send(Err(AddError::Duplicate(hash)));
        }
    }

    pub(super) fn into_again(self) -> Vec<(Box<AddTorrent>, Answer<TorrentKey, AddError>)> {
        self.again
    }
}

impl Entry {
    pub(super) fn new(spec: Arc<Spec>, paused: bool) -> Self {
        Self {
            saved: spec.before,
            saved_info: spec.knows(),
            saved_copies: 0,
            saved_done: spec.is_done(),
            rest: None,
            spec,
            state: State::Blank,
            paused,
            reached: None,
            announced: false,
            moving: false,
            recheck: None,
            removal: None,
            complaint: None,
            seeded: 0,
            seeding_since: None,
        }
    }

    /// It is at something else from now on; says what it was at.
    pub(super) fn set_state(&mut self, state: State) -> State {
        let before = std::mem::replace(&mut self.state, state);
        self.measure();
        before
    }

    /// Is something to be fetched, be it the metadata?
    pub(super) fn misses(&self) -> bool {
        self.spec.fetches() && (self.spec.info().is_none() || self.live().status.left_count > 0)
    }

    /// What it is at while nobody works on it and its files were not looked at to the end.
    pub(super) fn unlooked(&self) -> State {
        self.spec.info().map_or(State::Blank, |info| {
            State::Parked(Bitfield::none(info.geometry()))
        })
    }

    /// Counts what is wanted anew, after it or the files have changed.
    pub(super) fn measure(&mut self) {
        self.rest = match &self.state {
            State::Asleep(opened) => self.wanted(&opened.have),
            State::Parked(have) => self.wanted(have),
            _ => None,
        };
    }

    fn wanted(&self, have: &Bitfield) -> Option<Wanted> {
        let info = self.spec.info()?;
        let geometry = info.geometry();
        let has = |piece| geometry.piece(piece).is_some_and(|piece| have.has(piece));
        Some(wanted(info, &self.spec.options().wishes, has))
    }

    /// Somebody works on it, or will once its files are known.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.state, State::Opening(_) | State::Awake(_))
    }

    /// Asks whoever works on it to end.
    pub(super) fn interrupt(&mut self) {
        match &self.state {
            State::Opening(looking) => looking.stop.cancel(),
            State::Awake(awake) => awake.leave.cancel(),
            _ => (),
        }
    }

    /// What is known of it now; of a torrent that is awake, up to a second ago.
    pub(super) fn live(&self) -> Live {
        match &self.state {
            State::Awake(_) => self.spec.live().unwrap_or_default(),
            State::Asleep(opened) => self.at_rest(&opened.have),
            State::Parked(have) => self.at_rest(have),
            State::Opening(_) | State::Blank | State::Broken(_) => {
                let total = self.spec.info().map_or(0, |info| info.geometry().total_length());
                Live {
                    status: Status {
                        metadata: self.spec.info().is_some(),
                        total_bytes: total,
                        wanted_bytes: total,
                        left_bytes: total,
                        ..Status::default()
                    },
                    why: None,
                }
            }
        }
    }

    fn at_rest(&self, have: &Bitfield) -> Live {
        let Some(info) = self.spec.info() else {
            return Live::default();
        };
        let geometry = info.geometry();
        let wanted = self.rest.unwrap_or_default();
        let status = Status {
            metadata: true,
            have_count: have.count(),
            piece_count: geometry.piece_count(),
            have_bytes: geometry.total_length().saturating_sub(self.spec.counters.left()),
            total_bytes: geometry.total_length(),
            wanted_bytes: wanted.bytes,
            left_bytes: wanted.left,
            left_count: u32::from(wanted.left > 0),
            downloaded: self.spec.counters.downloaded(),
            uploaded: self.spec.counters.uploaded(),
            ..Status::default()
        };
        Live { status, why: None }
    }

    /// What it is at.
    pub(super) fn stage(&self, live: &Live) -> Stage {
        let piece_length = self.spec.info().map_or(0, |info| info.geometry().piece_length());
        match &self.state {
            State::Broken(_) => Stage::Error,
            State::Opening(looking) => match looking.hashing(piece_length) {
                Some((done, of)) => Stage::Checking { done, of },
                None => Stage::Opening,
            },
            _ if self.paused => Stage::Paused,
            _ => stage_of(&self.spec, &live.status),
        }
    }

    /// In plain words: why it waits or rests.
    pub(super) fn why(&self, live: &Live) -> Option<String> {
        let complaint = self.complaint.as_deref();
        match &self.state {
            State::Broken(reason) => Some(reason.to_string()),
            _ if self.moving => Some("its files are being moved".to_owned()),
            _ if self.paused => Some(match &self.reached {
                Some(goal) => format!("it has been given enough: {goal}"),
                None => "paused".to_owned(),
            }),
            State::Opening(_) => Some("its files are looked at".to_owned()),
            _ if self.spec.is_hands_off() && live.status.left_count > 0 => Some(
                "others changed it after it was finished: it is given as far as it is there; a recheck has it fetched again"
                    .to_owned(),
            ),
            State::Awake(_) if live.status.peers == 0 && live.status.left_count > 0 => {
                match (complaint, &live.why) {
                    (Some(words), _) => Some(format!("nobody is connected; the tracker failed: {words}")),
                    (None, why) => why.clone(),
                }
            }
            State::Awake(_) => live.why.clone().or_else(|| rest_unwanted(live)),
            _ if live.status.left_count > 0 => Some(match complaint {
                Some(words) => format!("nobody has it at the moment; the tracker failed: {words}"),
                None => "nobody has it at the moment; the trackers are asked again".to_owned(),
            }),
            _ => complaint
                .map(|words| format!("the tracker failed: {words}"))
                .or_else(|| rest_unwanted(live)),
        }
    }

    /// Seconds as a seed, over all runs.
    pub(super) fn seeding_seconds(&self, now: Moment) -> u64 {
        let since = self.seeding_since.map_or(0, |since| now.since(since).as_secs());
        self.seeded + since
    }
}

/// All that is wanted is there, and not all of the torrent.
pub(super) fn is_partial(live: &Live) -> bool {
    let status = &live.status;
    status.metadata && status.left_bytes == 0 && status.wanted_bytes < status.total_bytes
}

fn rest_unwanted(live: &Live) -> Option<String> {
    is_partial(live).then(|| "all that is wanted is there; the rest of the torrent is not fetched".to_owned())
}
