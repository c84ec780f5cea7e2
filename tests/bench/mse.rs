//! The caller's side of an encrypted handshake with RC4, as short as a bench allows: fixed secret, no pads, nothing checked that
//! a seeder under test would get wrong in silence. Written apart from the product's, and so a second opinion on it.
#![expect(clippy::indexing_slicing, reason = "256 places, and a place is a byte")]

use std::io::{Read, Write};
use std::net::TcpStream;

use crypto_bigint::modular::ConstMontyForm;
use crypto_bigint::{U768, const_monty_params};
use sha1::{Digest, Sha1};

const_monty_params!(
    Prime,
    U768,
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd\
     ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a63a36210000000000090563"
);

const SECRET: U768 = U768::from_u64(0x5eed_5eed_5eed_5eed);

fn raise(base: &U768) -> U768 {
    ConstMontyForm::<Prime, { U768::LIMBS }>::new(base)
        .pow_bounded_exp(&SECRET, 64)
        .retrieve()
}

/// RC4 as the textbook has it, its first kilobyte thrown away.
pub(crate) struct Rc4 {
    state: [u8; 256],
    at: u8,
    swap: u8,
}

impl Rc4 {
    fn new(word: &[u8], secret: &[u8], torrent: [u8; 20]) -> Self {
        let key = hash(&[word, secret, &torrent]);
        let mut cipher = Self {
            state: std::array::from_fn(|value| u8::try_from(value).unwrap_or_default()),
            at: 0,
            swap: 0,
        };
        let mut swap = 0_u8;
        for (at, part) in (0..=u8::MAX).zip(key.iter().cycle()) {
            swap = swap
                .wrapping_add(cipher.state[usize::from(at)])
                .wrapping_add(*part);
            cipher.state.swap(usize::from(at), usize::from(swap));
        }
        cipher.apply(&mut [0; 1_024]);
        cipher
    }

    pub(crate) fn apply(&mut self, bytes: &mut [u8]) {
        let state = &mut self.state;
        for byte in bytes {
            self.at = self.at.wrapping_add(1);
            let one = state[usize::from(self.at)];
            self.swap = self.swap.wrapping_add(one);
            let other = state[usize::from(self.swap)];
            state[usize::from(self.at)] = other;
            state[usize::from(self.swap)] = one;
            *byte ^= state[usize::from(one.wrapping_add(other))];
        }
    }
}

fn hash(parts: &[&[u8]]) -> [u8; 20] {
    let mut sha1 = Sha1::new();
    for part in parts {
        sha1.update(part);
    }
    sha1.finalize().into()
}

/// Shakes hands behind RC4 and sends `first` along; the ciphers of what is read and of what is written from then on.
pub(crate) fn shake(stream: &mut TcpStream, torrent: [u8; 20], first: &[u8]) -> anyhow::Result<(Rc4, Rc4)> {
    let ours: [u8; 96] = raise(&U768::from(2_u8)).to_be_bytes().into();
    stream.write_all(&ours)?;
    let mut theirs = [0; 96];
    stream.read_exact(&mut theirs)?;
    let secret: [u8; 96] = raise(&U768::from_be_slice(&theirs)).to_be_bytes().into();
    let (mut writes, mut reads) = (
        Rc4::new(b"keyA", &secret, torrent),
        Rc4::new(b"keyB", &secret, torrent),
    );
    let (name, veil) = (hash(&[b"req2", &torrent]), hash(&[b"req3", &secret]));
    let mask: Vec<u8> = name.iter().zip(veil).map(|(name, veil)| name ^ veil).collect();
    // Zeros, RC4 alone, no pad, and how long the first words are.
    let mut hidden = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0].to_vec();
    hidden.extend(u16::try_from(first.len())?.to_be_bytes());
    hidden.extend(first);
    writes.apply(&mut hidden);
    stream.write_all(&[&hash(&[b"req1", &secret]), mask.as_slice(), &hidden].concat())?;
    let mut zeros = [0; 8];
    reads.apply(&mut zeros);
    let mut heard = Vec::new();
    while !heard.ends_with(&zeros) {
        anyhow::ensure!(heard.len() < 520, "the seeder's pad has no end");
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        heard.extend(byte);
    }
    let mut choice = [0; 6];
    stream.read_exact(&mut choice)?;
    reads.apply(&mut choice);
    let (method, pad) = choice.split_at(4);
    anyhow::ensure!(method == [0, 0, 0, 2], "the seeder chose {method:?}");
    let mut pad = vec![0; usize::from(u16::from_be_bytes(pad.try_into()?))];
    stream.read_exact(&mut pad)?;
    reads.apply(&mut pad);
    Ok((reads, writes))
}
