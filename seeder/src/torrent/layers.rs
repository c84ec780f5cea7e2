//! How a v2 torrent that came without its piece layers gets them (BEP 52): in parts of at most 512 hashes, each with a proof
//! up to the root that the metadata name. So a lie has one author and is found at once. Parts are spread over all peers
//! that speak v2; who refuses or is silent is asked for others, and later again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::hash_span::HashSpan;
use shared::merkle::{Hash, Layers, Trees};
use shared::moment::Moment;

use super::events::{PeerKey, Why};

/// Requests waiting at one source.
const QUEUE: usize = 4;
/// A source that sends nothing for so long is left alone for a while.
const PATIENCE: Duration = Duration::from_secs(15);
const REST: Duration = Duration::from_secs(30);
/// Refusals of one source that are remembered; who refuses more rests.
const REFUSED_MAX: usize = 64;

/// A part of a piece layer: which tree, and which part of it. There are fewer than there are pieces.
type Part = (usize, u32);

/// Layers on their way.
#[derive(Debug)]
pub(super) struct LayerFetch {
    trees: Trees,
    /// The roots of the layers that are missing; parts name them by their place here.
    roots: Vec<Hash>,
    /// Parts that nobody is asked for.
    free: BTreeSet<Part>,
    /// Parts that somebody is asked for.
    asked: usize,
    arrived: BTreeMap<Part, Vec<Hash>>,
    sources: BTreeMap<PeerKey, Source>,
}

#[derive(Debug)]
struct Source {
    asked: BTreeMap<HashSpan, (Part, Moment)>,
    refused: BTreeSet<Part>,
    forgiven: Moment,
    /// It may be asked from this moment on.
    from: Moment,
}

impl LayerFetch {
    /// Begins with whatever these trees lack; `None` if that is nothing.
    pub(super) fn new(trees: Trees) -> Option<Self> {
        let (roots, parts): (Vec<Hash>, Vec<u32>) =
            trees.missing().map(|tree| (*tree.root(), tree.parts())).unzip();
        let all = parts.iter().enumerate();
        let free: BTreeSet<Part> = all
            .flat_map(|(tree, parts)| (0..*parts).map(move |part| (tree, part)))
            .collect();
        (!free.is_empty()).then_some(Self {
            trees,
            roots,
            free,
            asked: 0,
            arrived: BTreeMap::new(),
            sources: BTreeMap::new(),
        })
    }

    /// A peer that can be asked.
    pub(super) fn offer(&mut self, now: Moment, peer: PeerKey) {
        self.sources.entry(peer).or_insert_with(|| Source {
            asked: BTreeMap::new(),
            refused: BTreeSet::new(),
            forgiven: now,
            from: now,
        });
    }

    /// The peer has left.
    pub(super) fn gone(&mut self, peer: PeerKey) {
        if let Some(source) = self.sources.remove(&peer) {
            self.release(source.asked.into_values());
        }
    }

    /// What to ask whom for now, one part a source in turn.
    pub(super) fn wanted(&mut self, now: Moment) -> Vec<(PeerKey, HashSpan)> {
        self.give_up_silent(now);
        let mut wanted = Vec::new();
        for _round in 0..QUEUE {
            for (peer, source) in &mut self.sources {
                let Some(part) = source.next(now, &self.free) else {
                    continue;
                };
                let root = self.roots.get(part.0);
                let tree = root.and_then(|root| self.trees.get(root));
                if let Some(span) = tree.and_then(|tree| tree.part(part.1)) {
                    self.free.remove(&part);
                    self.asked += 1;
                    source.asked.insert(span, (part, now));
                    wanted.push((*peer, span));
                }
            }
        }
        wanted
    }

    /// The peer refuses a part.
    pub(super) fn rejected(&mut self, now: Moment, peer: PeerKey, span: &HashSpan) {
        let Some(source) = self.sources.get_mut(&peer) else {
            return;
        };
        if let Some(asked) = source.asked.remove(span) {
            source.forgiven = now + REST;
            if source.refused.len() >= REFUSED_MAX {
                source.from = now + REST;
            } else {
                source.refused.insert(asked.0);
            }
            self.release([asked]);
        }
    }

    /// A part has arrived. Gives all layers if it was the last. What nobody had asked this peer for is passed over.
    pub(super) fn arrived(
        &mut self,
        peer: PeerKey,
        span: &HashSpan,
        mut hashes: Vec<Hash>,
    ) -> Result<Option<Layers>, Why> {
        let source = self.sources.get_mut(&peer);
        let Some(((tree, part), _)) = source.and_then(|source| source.asked.remove(span)) else {
            return Ok(None);
        };
        self.asked = self.asked.saturating_sub(1);
        let proved = self
            .trees
            .get(span.root())
            .is_some_and(|tree| tree.proves(span, &hashes));
        if !proved {
            self.free.insert((tree, part));
            return Err(Why::WrongHashes);
        }
        hashes.truncate(span.length() as usize);
        self.arrived.insert((tree, part), hashes);
        Ok((self.free.is_empty() && self.asked == 0).then(|| self.join()))
    }

    fn join(&mut self) -> Layers {
        let mut layers = Layers::new();
        for ((tree, _), part) in std::mem::take(&mut self.arrived) {
            if let Some(root) = self.roots.get(tree) {
                layers.entry(*root).or_default().extend(part);
            }
        }
        for (root, layer) in &mut layers {
            // What lies behind the end of the file was only needed for the proof.
            let pieces = self.trees.get(root).map_or(0, |tree| tree.pieces() as usize);
            layer.truncate(pieces);
        }
        layers
    }

    fn give_up_silent(&mut self, now: Moment) {
        let mut given_up = Vec::new();
        for source in self.sources.values_mut() {
            let since = source.asked.values().map(|(_, since)| *since).min();
            if since.is_some_and(|since| now.since(since) >= PATIENCE) {
                given_up.extend(std::mem::take(&mut source.asked).into_values());
                source.from = now + REST;
            }
        }
        self.release(given_up);
    }

    fn release(&mut self, asked: impl IntoIterator<Item = (Part, Moment)>) {
        for (part, _) in asked {
            self.asked = self.asked.saturating_sub(1);
            self.free.insert(part);
        }
    }
}

impl Source {
    /// The next part for this source, if it may be asked for one.
    fn next(&mut self, now: Moment, free: &BTreeSet<Part>) -> Option<Part> {
        if now < self.from || self.asked.len() >= QUEUE {
            return None;
        }
        if now >= self.forgiven {
            self.refused.clear();
        }
        free.iter().find(|part| !self.refused.contains(part)).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::geometry::BLOCK_LENGTH;
    use shared::merkle::{self, Tree};

    use super::*;

    const NOW: Moment = Moment::from_secs(10);

    /// A file of so many pieces of one block, its tree bare and whole.
    fn file(pieces: u32, name: u8) -> (Tree, Tree) {
        let layer: Vec<Hash> = (0..pieces)
            .map(|piece| merkle::leaf(&[&[name], &piece.to_be_bytes()[..]].concat()))
            .collect();
        let length = u64::from(pieces) * u64::from(BLOCK_LENGTH);
        let bare = Tree::new(merkle::root(&layer), length, BLOCK_LENGTH, 0).unwrap();
        let mut whole = bare.clone();
        assert!(whole.fill(layer));
        (bare, whole)
    }

    struct Files {
        fetch: LayerFetch,
        whole: Trees,
    }

    fn files(pieces: &[u32]) -> Files {
        let (bare, whole): (Vec<_>, Vec<_>) = pieces
            .iter()
            .zip(1..)
            .map(|(pieces, name)| file(*pieces, name))
            .unzip();
        Files {
            fetch: LayerFetch::new(Trees::new(bare)).unwrap(),
            whole: Trees::new(whole),
        }
    }

    impl Files {
        fn answer(&self, span: &HashSpan) -> Vec<Hash> {
            self.whole.get(span.root()).unwrap().answer(span).unwrap()
        }

        /// Gives what is wanted until all layers are there.
        fn finish(&mut self, now: Moment) -> Layers {
            loop {
                let wanted = self.fetch.wanted(now);
                assert!(!wanted.is_empty(), "nobody is asked, and layers are missing");
                let answers: Vec<_> = wanted.iter().map(|(_, span)| self.answer(span)).collect();
                let mut arrivals = wanted
                    .into_iter()
                    .zip(answers)
                    .map(|((peer, span), answer)| self.fetch.arrived(peer, &span, answer).unwrap());
                if let Some(layers) = arrivals.find_map(|layers| layers) {
                    return layers;
                }
            }
        }

        fn check(&self, layers: &Layers) {
            for (root, layer) in layers {
                assert_eq!(self.whole.get(root).unwrap().layer(), Some(layer.as_slice()));
            }
        }
    }

    #[test]
    fn trees_that_lack_nothing_are_not_fetched() {
        assert!(LayerFetch::new(Trees::default()).is_none());
        assert!(LayerFetch::new(Trees::new([file(3, 1).1])).is_none());
    }

    #[test]
    fn parts_are_spread_over_peers_and_make_whole_layers() {
        let mut files = files(&[1_300, 2, 7]);
        for peer in 1..=3 {
            files.fetch.offer(NOW, PeerKey(peer));
        }
        let wanted = files.fetch.wanted(NOW);
        let asked: Vec<u64> = wanted.iter().map(|(peer, _)| peer.0).collect();
        assert_eq!(asked, [1, 2, 3, 1, 2], "five parts, each once");
        files.fetch.gone(PeerKey(1));
        files.fetch.gone(PeerKey(2));
        files.fetch.gone(PeerKey(3));
        files.fetch.offer(NOW, PeerKey(4));
        let layers = files.finish(NOW);
        assert_eq!(layers.len(), 3);
        files.check(&layers);
    }

    #[test]
    fn a_lie_is_found_at_once_and_the_part_is_asked_for_again() {
        let mut files = files(&[100]);
        files.fetch.offer(NOW, PeerKey(1));
        let (peer, span) = files.fetch.wanted(NOW).remove(0);
        let mut answer = files.answer(&span);
        answer[7][0] ^= 1;
        assert_eq!(files.fetch.arrived(peer, &span, answer), Err(Why::WrongHashes));
        files.fetch.gone(peer);
        files.fetch.offer(NOW, PeerKey(2));
        let layers = files.finish(NOW);
        files.check(&layers);
    }

    #[test]
    fn who_refuses_is_asked_for_other_parts_and_later_again() {
        let mut files = files(&[5, 9]);
        files.fetch.offer(NOW, PeerKey(1));
        let wanted = files.fetch.wanted(NOW);
        assert_eq!(wanted.len(), 2);
        files.fetch.rejected(NOW, PeerKey(1), &wanted[0].1);
        assert_eq!(files.fetch.wanted(NOW), []);
        files.fetch.offer(NOW, PeerKey(2));
        assert_eq!(files.fetch.wanted(NOW), [(PeerKey(2), wanted[0].1)]);
        files.fetch.gone(PeerKey(2));
        assert_eq!(files.fetch.wanted(NOW + Duration::from_secs(5)), []);
    }

    #[test]
    fn who_is_silent_makes_way_for_others_and_is_asked_again_after_a_rest() {
        let mut files = files(&[5]);
        files.fetch.offer(NOW, PeerKey(1));
        assert_eq!(files.fetch.wanted(NOW).len(), 1);
        let later = NOW + PATIENCE;
        assert_eq!(files.fetch.wanted(later), []);
        files.fetch.offer(later, PeerKey(2));
        let wanted = files.fetch.wanted(later);
        assert_eq!(wanted[0].0, PeerKey(2));
        // What comes too late was asked for by nobody.
        let answer = files.answer(&wanted[0].1);
        assert_eq!(files.fetch.arrived(PeerKey(1), &wanted[0].1, answer), Ok(None));
        files.fetch.gone(PeerKey(2));
        assert_eq!(files.fetch.wanted(later + REST).len(), 1);
    }

    proptest! {
        /// Peers come, go, refuse, lie and keep silent; in the end one honest one is left.
        #[test]
        fn whatever_peers_do_the_layers_are_right(
            pieces in prop::collection::vec(2_u32..1_200, 1..4),
            steps in prop::collection::vec((0_u8..6, 0_u64..4), 0..60),
        ) {
            let (mut files, mut now, mut open) = (files(&pieces), NOW, Vec::new());
            let mut done = None;
            for (step, peer) in steps {
                let peer = PeerKey(peer);
                match step {
                    0 => files.fetch.offer(now, peer),
                    1 => files.fetch.gone(peer),
                    2 => open.extend(files.fetch.wanted(now)),
                    3 => now = now + Duration::from_secs(9),
                    _ => {
                        let Some((peer, span)) = open.pop() else { continue };
                        let mut answer = files.answer(&span);
                        if step == 4 {
                            files.fetch.rejected(now, peer, &span);
                        } else if peer.0 == 0 {
                            answer[0] = [1; 32];
                            prop_assert!(!matches!(files.fetch.arrived(peer, &span, answer), Ok(Some(_))));
                        } else if let Some(layers) = files.fetch.arrived(peer, &span, answer).unwrap() {
                            done = Some(layers);
                            break;
                        }
                    }
                }
            }
            if done.is_none() {
                (0..4).for_each(|peer| files.fetch.gone(PeerKey(peer)));
                files.fetch.offer(now, PeerKey(9));
                done = Some(files.finish(now));
            }
            let layers = done.unwrap();
            prop_assert_eq!(layers.len(), pieces.len());
            files.check(&layers);
        }
    }
}
