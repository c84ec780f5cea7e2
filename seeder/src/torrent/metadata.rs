//! How a magnet link's torrent gets its `info` dictionary (BEP 9), and how it is given to others. Each source is asked for
//! the whole by itself, a few at the same time, the first right one wins: so a lie has one author, a false size harms only
//! him who named it, and nobody slow is waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use sha1::{Digest, Sha1};
use sha2::Sha256;
use shared::extension::{METADATA_BLOCK_LENGTH, METADATA_SIZE_MAX, MetadataMessage};
use shared::id::{InfoHash, InfoHashV2};
use shared::moment::Moment;

use super::events::{Identity, PeerKey, Why};

/// Sources that are asked at the same time.
const ACTIVE_MAX: usize = 3;
/// Requests waiting at one source.
const QUEUE: usize = 8;
/// A source that sends nothing for so long, or refuses, is left alone for a while.
const PATIENCE: Duration = Duration::from_secs(15);
const REST: Duration = Duration::from_secs(30);
/// A source has so long for the whole while others wait to be asked; then it is their turn, and the next time it has twice as
/// long.
const TURN: Duration = Duration::from_secs(60);
/// Whoever takes the metadata more often than this has no use for them.
const SERVED_TIMES_MAX: u32 = 4;

#[derive(Debug)]
pub(super) struct Fetch {
    /// What the link names: at least one of the two.
    v1: Option<InfoHash>,
    v2: Option<InfoHashV2>,
    sources: BTreeMap<PeerKey, Source>,
}

/// A block of metadata as a peer sent it.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) block: u32,
    pub(super) total_size: u32,
    pub(super) data: Bytes,
}

#[derive(Debug)]
struct Source {
    /// What it says is the length of the whole; between 1 and the bound.
    size: u32,
    state: State,
    turn: Duration,
}

#[derive(Debug)]
enum State {
    /// It may be asked from this moment on.
    Idle { from: Moment },
    Active {
        blocks: BTreeMap<u32, Bytes>,
        next: u32,
        began: Moment,
        progress: Moment,
    },
}

impl Fetch {
    pub(super) fn new(identity: &Identity) -> Self {
        let Identity {
            info_hash,
            info_hash_v2,
            ..
        } = *identity;
        let cut = info_hash_v2.is_some_and(|hash| hash.truncated() == info_hash);
        Self {
            v1: Some(info_hash).filter(|_| !cut),
            v2: info_hash_v2,
            sources: BTreeMap::new(),
        }
    }

    /// A peer says that it has metadata of this size.
    pub(super) fn offer(&mut self, now: Moment, peer: PeerKey, size: u32) {
        if (1..=METADATA_SIZE_MAX).contains(&size) {
            self.sources.entry(peer).or_insert(Source {
                size,
                state: State::Idle { from: now },
                turn: TURN,
            });
        }
    }

    /// The peer has left.
    pub(super) fn gone(&mut self, peer: PeerKey) {
        self.sources.remove(&peer);
    }

    /// Which blocks to ask whom for now.
    pub(super) fn wanted(&mut self, now: Moment) -> Vec<(PeerKey, u32)> {
        self.give_up_silent(now);
        let active = self.sources.values().filter(|source| source.is_active()).count();
        let ready = |(peer, source): (&PeerKey, &Source)| Some((source.ready_since(now)?, *peer));
        let mut ready: Vec<_> = self.sources.iter().filter_map(ready).collect();
        // Who has waited longest comes first, so that nobody's turn comes twice before another's.
        ready.sort_unstable();
        for (_, peer) in ready.into_iter().take(ACTIVE_MAX.saturating_sub(active)) {
            if let Some(source) = self.sources.get_mut(&peer) {
                source.begin(now);
            }
        }
        let asks = |(peer, source): (&PeerKey, &mut Source)| {
            let peer = *peer;
            source.ask().into_iter().map(move |block| (peer, block))
        };
        self.sources.iter_mut().flat_map(asks).collect()
    }

    /// The peer refuses.
    pub(super) fn rejected(&mut self, now: Moment, peer: PeerKey) {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.state = State::Idle { from: now + REST };
        }
    }

    /// A block has arrived. Gives the whole, if this was the last and the hash is right.
    pub(super) fn arrived(&mut self, now: Moment, peer: PeerKey, part: Part) -> Result<Option<Bytes>, Why> {
        let Part {
            block,
            total_size,
            data,
        } = part;
        let Some(source) = self.sources.get_mut(&peer) else {
            return Ok(None);
        };
        if total_size != source.size || u32::try_from(data.len()).ok() != source.length_of(block) {
            return Err(Why::MetadataSize(source.size));
        }
        let Some(whole) = source.take(now, block, data) else {
            return Ok(None);
        };
        if self.is_wanted(&whole) {
            Ok(Some(whole.into()))
        } else {
            Err(Why::WrongMetadata)
        }
    }

    /// Is this a dictionary that the link names? One hash is enough: where a link has two and they lead to different
    /// torrents, that is not the fault of whoever sent this.
    fn is_wanted(&self, info: &[u8]) -> bool {
        let v1 = self
            .v1
            .is_some_and(|hash| Sha1::digest(info).as_slice() == hash.as_bytes());
        v1 || self
            .v2
            .is_some_and(|hash| Sha256::digest(info).as_slice() == hash.as_bytes())
    }

    fn give_up_silent(&mut self, now: Moment) {
        let others_wait = self
            .sources
            .values()
            .any(|source| source.ready_since(now).is_some());
        for source in self.sources.values_mut() {
            let State::Active { began, progress, .. } = source.state else {
                continue;
            };
            let over = others_wait && now.since(began) >= source.turn;
            if over {
                source.turn *= 2;
            }
            if over || now.since(progress) >= PATIENCE {
                source.state = State::Idle { from: now + REST };
            }
        }
    }
}

impl Source {
    fn is_active(&self) -> bool {
        matches!(self.state, State::Active { .. })
    }

    fn block_count(&self) -> u32 {
        self.size.div_ceil(METADATA_BLOCK_LENGTH)
    }

    fn length_of(&self, block: u32) -> Option<u32> {
        let begin = block.checked_mul(METADATA_BLOCK_LENGTH)?;
        self.size
            .checked_sub(begin)
            .filter(|rest| *rest > 0)
            .map(|rest| rest.min(METADATA_BLOCK_LENGTH))
    }

    /// Since when it could be asked, if it is not.
    fn ready_since(&self, now: Moment) -> Option<Moment> {
        match self.state {
            State::Idle { from } if from <= now => Some(from),
            _ => None,
        }
    }

    fn begin(&mut self, now: Moment) {
        self.state = State::Active {
            blocks: BTreeMap::new(),
            next: 0,
            began: now,
            progress: now,
        };
    }

    /// The next blocks to ask for, as many as may wait.
    fn ask(&mut self) -> Vec<u32> {
        let count = self.block_count();
        let State::Active { blocks, next, .. } = &mut self.state else {
            return Vec::new();
        };
        let waiting = (*next as usize).saturating_sub(blocks.len());
        let first = *next;
        *next = first
            .saturating_add(u32::try_from(QUEUE.saturating_sub(waiting)).unwrap_or(0))
            .min(count);
        (first..*next).collect()
    }

    /// Keeps a block that was asked for. Gives the whole with the last one.
    fn take(&mut self, now: Moment, block: u32, data: Bytes) -> Option<Vec<u8>> {
        let count = self.block_count();
        let State::Active {
            blocks,
            next,
            progress,
            ..
        } = &mut self.state
        else {
            return None;
        };
        if block >= *next || blocks.contains_key(&block) {
            return None;
        }
        *progress = now;
        blocks.insert(block, data);
        if blocks.len() < count as usize {
            return None;
        }
        Some(blocks.values().flatten().copied().collect())
    }
}

/// The answer to a peer's request, if it has not had enough. `served` counts what this peer got.
pub(super) fn answer(info: Option<&Bytes>, served: &mut u32, block: u32) -> MetadataMessage {
    let slice = info.and_then(|info| {
        let total_size = u32::try_from(info.len()).ok()?;
        let count = total_size.div_ceil(METADATA_BLOCK_LENGTH);
        let begin = block
            .checked_mul(METADATA_BLOCK_LENGTH)
            .filter(|begin| *begin < total_size)?;
        let end = begin.saturating_add(METADATA_BLOCK_LENGTH).min(total_size);
        (*served < count.saturating_mul(SERVED_TIMES_MAX))
            .then(|| (total_size, info.slice(begin as usize..end as usize)))
    });
    match slice {
        Some((total_size, data)) => {
            *served += 1;
            MetadataMessage::Data {
                piece: block,
                total_size,
                data,
            }
        }
        None => MetadataMessage::Reject { piece: block },
    }
}

#[cfg(test)]
mod tests {
    use shared::id::PeerId;

    use super::*;

    const NOW: Moment = Moment::from_secs(10);

    fn info() -> Bytes {
        (0..40_000_u32)
            .map(|number| number.to_le_bytes()[0])
            .collect::<Vec<_>>()
            .into()
    }

    fn fetch(info: &[u8]) -> Fetch {
        Fetch::new(&Identity {
            info_hash: InfoHash::from_slice(&Sha1::digest(info)).unwrap(),
            info_hash_v2: None,
            peer_id: PeerId([0; 20]),
            listen_port: 0,
        })
    }

    /// Answers everything that is wanted from this peer with slices of `info`.
    fn feed(fetch: &mut Fetch, peer: PeerKey, info: &Bytes) -> Result<Option<Bytes>, Why> {
        let (mut served, mut whole) = (0, None);
        for (asked, block) in fetch.wanted(NOW) {
            if let MetadataMessage::Data {
                piece,
                total_size,
                data,
            } = answer(Some(info), &mut served, block)
                && asked == peer
            {
                whole = whole.or(fetch.arrived(
                    NOW,
                    peer,
                    Part {
                        block: piece,
                        total_size,
                        data,
                    },
                )?);
            }
        }
        Ok(whole)
    }

    #[test]
    fn the_whole_is_fetched_and_its_hash_agrees() {
        let info = info();
        let mut fetch = fetch(&info);
        fetch.offer(NOW, PeerKey(1), 40_000);
        assert_eq!(feed(&mut fetch, PeerKey(1), &info), Ok(Some(info)));
    }

    #[test]
    fn a_v2_torrent_is_known_by_its_cut_sha_256() {
        let info = info();
        let mut fetch = fetch(&info);
        (fetch.v1, fetch.v2) = (None, InfoHashV2::from_slice(&Sha256::digest(&info)));
        fetch.offer(NOW, PeerKey(1), 40_000);
        assert_eq!(feed(&mut fetch, PeerKey(1), &info), Ok(Some(info)));
    }

    #[test]
    fn a_liar_is_named_and_the_others_go_on() {
        let info = info();
        let mut fetch = fetch(&info);
        fetch.offer(NOW, PeerKey(1), 40_000);
        fetch.offer(NOW, PeerKey(2), 40_000);
        let lie = Bytes::from(vec![7; 40_000]);
        let wanted = fetch.wanted(NOW);
        assert_eq!(wanted.len(), 6, "both are asked for all three blocks");
        let give = |fetch: &mut Fetch, peer, info: &Bytes, block| {
            let mut served = 0;
            let MetadataMessage::Data { total_size, data, .. } = answer(Some(info), &mut served, block)
            else {
                return Ok(None);
            };
            fetch.arrived(
                NOW,
                PeerKey(peer),
                Part {
                    block,
                    total_size,
                    data,
                },
            )
        };
        for block in 0..2 {
            assert_eq!(give(&mut fetch, 1, &lie, block), Ok(None));
            assert_eq!(give(&mut fetch, 2, &info, block), Ok(None));
        }
        assert_eq!(give(&mut fetch, 1, &lie, 2), Err(Why::WrongMetadata));
        assert_eq!(give(&mut fetch, 2, &info, 2), Ok(Some(info.clone())));
    }

    fn part(total_size: u32, length: usize) -> Part {
        Part {
            block: 0,
            total_size,
            data: vec![0; length].into(),
        }
    }

    #[test]
    fn a_false_size_costs_nothing_and_is_found_out() {
        let mut fetch = fetch(&info());
        fetch.offer(NOW, PeerKey(1), u32::MAX);
        fetch.offer(NOW, PeerKey(2), 0);
        assert_eq!(fetch.wanted(NOW + REST), []);
        fetch.offer(NOW, PeerKey(3), 20_000);
        assert_eq!(fetch.wanted(NOW), [(PeerKey(3), 0), (PeerKey(3), 1)]);
        let wrong = fetch.arrived(NOW, PeerKey(3), part(40_000, 16_384));
        assert_eq!(wrong, Err(Why::MetadataSize(20_000)));
        let short = fetch.arrived(NOW, PeerKey(3), part(20_000, 5));
        assert_eq!(short, Err(Why::MetadataSize(20_000)));
    }

    #[test]
    fn who_refuses_or_is_silent_makes_way_and_is_asked_again_later() {
        let mut fetch = fetch(&info());
        for peer in 1..=4 {
            fetch.offer(NOW, PeerKey(peer), 40_000);
        }
        let peers = |wanted: Vec<(PeerKey, u32)>| wanted.iter().map(|(peer, _)| peer.0).collect::<Vec<_>>();
        assert_eq!(peers(fetch.wanted(NOW)), [1, 1, 1, 2, 2, 2, 3, 3, 3]);
        fetch.rejected(NOW, PeerKey(2));
        assert_eq!(peers(fetch.wanted(NOW)), [4, 4, 4]);
        assert_eq!(peers(fetch.wanted(NOW + PATIENCE)), [0_u64; 0]);
        assert_eq!(
            peers(fetch.wanted(NOW + PATIENCE + REST)),
            [1, 1, 1, 2, 2, 2, 3, 3, 3]
        );
    }

    /// Three sources hold all turns with a block every 14 s: who of `1..=4` is asked for something after that?
    #[track_caller]
    fn check_who_is_asked(block: impl Fn(u32) -> u32, seconds: u64, expected: &[u64]) {
        let mut fetch = fetch(&info());
        for peer in 1..=3 {
            fetch.offer(NOW, PeerKey(peer), 100 * METADATA_BLOCK_LENGTH);
        }
        fetch.wanted(NOW);
        fetch.offer(NOW, PeerKey(4), 40_000);
        let mut asked = Vec::new();
        for (round, second) in (0..seconds).step_by(14).enumerate() {
            let now = NOW + Duration::from_secs(second);
            for peer in 1..=3 {
                let part = Part {
                    block: block(u32::try_from(round).unwrap()),
                    ..part(100 * METADATA_BLOCK_LENGTH, METADATA_BLOCK_LENGTH as usize)
                };
                assert_eq!(fetch.arrived(now, PeerKey(peer), part), Ok(None));
            }
            asked.extend(fetch.wanted(now).into_iter().map(|(peer, _)| peer.0));
        }
        asked.retain(|peer| *peer == 4);
        asked.dedup();
        assert_eq!(asked, expected);
    }

    #[test]
    fn who_repeats_a_block_does_not_keep_its_turn() {
        check_who_is_asked(|_| 0, 45, &[4]);
    }

    #[test]
    fn who_is_slow_gives_its_turn_to_those_who_wait() {
        check_who_is_asked(|round| round, 45, &[]);
        check_who_is_asked(|round| round, 90, &[4]);
    }

    #[test]
    fn nobody_gets_the_metadata_again_and_again() {
        let (info, mut served) = (info(), 0);
        let answers: Vec<_> = (0..20).map(|_| answer(Some(&info), &mut served, 1)).collect();
        let given = answers
            .iter()
            .filter(|answer| matches!(answer, MetadataMessage::Data { .. }))
            .count();
        assert_eq!(given, 12);
        assert_eq!(
            answer(Some(&info), &mut 0, 3),
            MetadataMessage::Reject { piece: 3 }
        );
        assert_eq!(answer(None, &mut 0, 0), MetadataMessage::Reject { piece: 0 });
    }
}
