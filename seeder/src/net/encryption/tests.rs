//! Handshakes byte for byte, without sockets.

use bytes::Bytes;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::caller::Caller;
use super::exchange::{KEY_LENGTH, Secret};
use super::host::Host;
use super::*;
use shared::id::InfoHash;

const TORRENT: InfoHash = InfoHash(*b"twenty bytes of hash");
const OTHER: InfoHash = InfoHash(*b"some other torrent!!");

/// Two sides that are connected by memory.
struct Pair {
    caller: (Secret, Caller),
    host: Host,
    dice: SmallRng,
    first_words: Vec<u8>,
    /// Torrents that the host has.
    has: Vec<InfoHash>,
    /// So many bytes travel at once, in turns.
    cuts: Vec<usize>,
    /// What is on its way to the caller, and to the host.
    wires: (Vec<u8>, Vec<u8>),
}

impl Pair {
    fn new(caller: Policy, host: Policy, seed: u64) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        let secret = Secret::new(&mut dice);
        let side = Caller::new(TORRENT, caller, &secret.public_key(), &mut dice);
        Self {
            caller: (secret, side),
            host: Host::new(host),
            dice,
            first_words: b"first words".to_vec(),
            has: vec![OTHER, TORRENT],
            cuts: vec![usize::MAX],
            wires: Default::default(),
        }
    }

    /// Lets them talk until both have what they need.
    fn talk(mut self) -> Result<(Secured, Secured), Refusal> {
        let mut turn = 0;
        loop {
            let host_done = self.host_step()?;
            let caller_done = self.caller_step()?;
            if host_done && caller_done {
                break;
            }
            let cut = self.cuts[turn % self.cuts.len()];
            turn += 1;
            self.caller.1.hear(&front(&mut self.wires.0, cut));
            self.host.hear(&front(&mut self.wires.1, cut));
            assert!(turn < 10_000, "they wait for each other");
        }
        Ok((self.caller.1.finish().unwrap(), self.host.finish().unwrap()))
    }

    fn host_step(&mut self) -> Result<bool, Refusal> {
        let need = self.host.advance()?;
        match need {
            Need::Agreement(theirs) => {
                let secret = Secret::new(&mut self.dice);
                let agreed = secret.agree(&theirs).ok_or(Refusal::Key)?;
                self.host.agreed(&secret.public_key(), agreed, &mut self.dice);
            }
            Need::Torrent(mask) => {
                let meant = self.has.iter().find(|torrent| Mask::of(**torrent) == mask);
                self.host.means(*meant.ok_or(Refusal::Torrent)?);
            }
            Need::Bytes | Need::Nothing => (),
        }
        self.wires.0.extend(self.host.say());
        Ok(need == Need::Nothing)
    }

    fn caller_step(&mut self) -> Result<bool, Refusal> {
        let (secret, caller) = &mut self.caller;
        let need = caller.advance()?;
        if let Need::Agreement(theirs) = need {
            let agreed = secret.agree(&theirs).ok_or(Refusal::Key)?;
            caller.agreed(&agreed, &self.first_words);
        }
        self.wires.1.extend(caller.say());
        Ok(need == Need::Nothing)
    }
}

fn front(wire: &mut Vec<u8>, count: usize) -> Vec<u8> {
    let count = count.min(wire.len());
    wire.drain(..count).collect()
}

/// What stands where these policies meet: `plain`, `rc4`, or why not.
#[track_caller]
fn check(caller: Policy, host: Policy, expected: &str) {
    let met = match Pair::new(caller, host, 1).talk() {
        Err(refusal) => refusal.to_string(),
        Ok((caller, host)) => {
            assert_eq!(caller.ciphers.is_some(), host.ciphers.is_some());
            assert_eq!(host.early, b"first words".as_slice());
            assert_eq!(caller.early, b"".as_slice());
            if caller.ciphers.is_some() { "rc4" } else { "plain" }.to_owned()
        }
    };
    assert_eq!(met, expected);
}

#[test]
fn bulk_costs_no_cipher_unless_somebody_insists() {
    check(Policy::Prefer, Policy::Prefer, "plain");
    check(Policy::Prefer, Policy::Require, "rc4");
    check(Policy::Require, Policy::Prefer, "rc4");
    check(Policy::Require, Policy::Require, "rc4");
}

#[test]
fn both_directions_are_hidden_and_shown_by_ciphers_that_fit() {
    let (caller, host) = Pair::new(Policy::Require, Policy::Require, 3).talk().unwrap();
    let ((mut caller_reads, mut caller_writes), (mut host_reads, mut host_writes)) =
        (caller.ciphers.unwrap(), host.ciphers.unwrap());
    for (writes, reads) in [
        (&mut caller_writes, &mut host_reads),
        (&mut host_writes, &mut caller_reads),
    ] {
        let mut bytes = *b"a block of something";
        writes.apply(&mut bytes);
        assert_ne!(&bytes, b"a block of something");
        reads.apply(&mut bytes);
        assert_eq!(&bytes, b"a block of something");
    }
}

#[test]
fn a_torrent_that_is_not_here_is_not_admitted_to() {
    let mut pair = Pair::new(Policy::Prefer, Policy::Prefer, 1);
    pair.has = vec![OTHER];
    assert_eq!(pair.talk().unwrap_err(), Refusal::Torrent);
}

#[test]
fn a_host_that_speaks_plainly_is_known_by_its_first_bytes() {
    let mut pair = Pair::new(Policy::Prefer, Policy::Prefer, 1);
    pair.caller.1.hear(b"\x13BitTorrent protocol and more");
    assert_eq!(pair.caller.1.advance(), Err(Refusal::Plain));
}

#[test]
fn keys_that_give_the_secret_away_end_it() {
    let mut host = Pair::new(Policy::Prefer, Policy::Prefer, 1);
    host.host.hear(&[0; KEY_LENGTH]);
    assert_eq!(host.host_step(), Err(Refusal::Key));
    let mut caller = Pair::new(Policy::Prefer, Policy::Prefer, 1);
    caller.caller.1.hear(&[0; KEY_LENGTH]);
    assert_eq!(caller.caller_step(), Err(Refusal::Key));
}

#[test]
fn a_pad_without_end_is_not_waited_for() {
    let mut pair = Pair::new(Policy::Prefer, Policy::Prefer, 1);
    let key = Secret::new(&mut SmallRng::seed_from_u64(9)).public_key();
    pair.host.hear(&key.0);
    pair.host_step().unwrap();
    // 628 bytes in all: a key, the longest pad, and the mark. One byte before that there is hope.
    pair.host.hear(&[7; PAD_MAX + 19]);
    assert_eq!(pair.host.advance(), Ok(Need::Bytes));
    pair.host.hear(&[7]);
    assert_eq!(pair.host.advance(), Err(Refusal::Pad));

    let mut pair = Pair::new(Policy::Prefer, Policy::Prefer, 1);
    pair.caller.1.hear(&key.0);
    pair.caller_step().unwrap();
    // 616 bytes in all.
    pair.caller.1.hear(&[7; PAD_MAX + 7]);
    assert_eq!(pair.caller.1.advance(), Ok(Need::Bytes));
    pair.caller.1.hear(&[7]);
    assert_eq!(pair.caller.1.advance(), Err(Refusal::Pad));
}

/// Plays a caller by hand, who says this behind his mask; what becomes of it at the host.
#[track_caller]
fn said_behind_the_mask(policy: Policy, words: &[u8]) -> Result<Need, Refusal> {
    let mut dice = SmallRng::seed_from_u64(4);
    let (ours, theirs) = (Secret::new(&mut dice), Secret::new(&mut dice));
    let agreed = ours.agree(&theirs.public_key()).unwrap();
    let mut host = Host::new(policy);
    host.hear(&ours.public_key().0);
    host.advance().unwrap();
    host.agreed(&theirs.public_key(), agreed, &mut dice);
    host.hear(&[3; PAD_MAX]);
    host.hear(&keys::beginning(&agreed));
    host.hear(Mask::of(TORRENT).hidden(&agreed).as_bytes());
    assert_eq!(host.advance(), Ok(Need::Torrent(Mask::of(TORRENT))));
    host.means(TORRENT);
    let mut hidden = words.to_vec();
    keys::caller_cipher(&agreed, TORRENT).apply(&mut hidden);
    host.hear(&hidden);
    host.advance()
}

#[test]
fn lengths_and_offers_of_strangers_are_bounded() {
    let said = |zeros: u64, offer: u32, pad: u16, words: &[u8]| {
        let mut bytes = zeros.to_be_bytes().to_vec();
        bytes.extend(offer.to_be_bytes());
        bytes.extend(pad.to_be_bytes());
        bytes.extend(words);
        bytes
    };
    let prefer = |bytes: &[u8]| said_behind_the_mask(Policy::Prefer, bytes);
    assert_eq!(prefer(&said(0, 3, 0, &[0, 0])), Ok(Need::Nothing));
    assert_eq!(prefer(&said(1, 3, 0, &[0, 0])), Err(Refusal::Keys));
    assert_eq!(prefer(&said(0, 4, 0, &[0, 0])), Err(Refusal::Method(4)));
    assert_eq!(prefer(&said(0, 3, 513, &[])), Err(Refusal::Pad));
    assert_eq!(prefer(&said(0, 3, 512, &[])), Ok(Need::Bytes));
    assert_eq!(
        prefer(&said(0, 3, 0, &[0xff, 0xff])),
        Err(Refusal::FirstWords(65_535))
    );
    let plain = said_behind_the_mask(Policy::Require, &said(0, 1, 0, &[0, 0]));
    assert_eq!(plain, Err(Refusal::Method(1)));
}

proptest! {
    #[test]
    fn any_cut_of_the_stream_comes_to_the_same(
        seed in any::<u64>(),
        cuts in prop::collection::vec(1_usize..400, 1..6),
        hidden in any::<bool>(),
        first_words in prop::collection::vec(any::<u8>(), 0..900),
    ) {
        let policy = if hidden { Policy::Require } else { Policy::Prefer };
        let mut pair = Pair::new(policy, Policy::Prefer, seed);
        pair.cuts = cuts;
        pair.first_words.clone_from(&first_words);
        let (caller, host) = pair.talk().unwrap();
        prop_assert_eq!(host.early, Bytes::from(first_words));
        prop_assert_eq!(caller.ciphers.is_some(), hidden);
        prop_assert_eq!(host.ciphers.is_some(), hidden);
    }

    #[test]
    fn noise_is_refused_before_it_fills_memory(
        noise in prop::collection::vec(any::<u8>(), KEY_LENGTH..2_000),
        cut in 1_usize..500,
    ) {
        let mut pair = Pair::new(Policy::Prefer, Policy::Prefer, 5);
        let mut heard = 0;
        let over = noise.chunks(cut).any(|part| {
            heard += part.len();
            pair.host.hear(part);
            pair.host_step().and_then(|_| pair.host_step()).is_err()
        });
        prop_assert!(over || heard < KEY_LENGTH + PAD_MAX + 20, "{heard} bytes were taken");
    }
}
