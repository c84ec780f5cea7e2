//! RC4, which hides the peer wire protocol from machines that look for its first bytes. It keeps no secret from anybody who
//! wants to know (RFC 7465 says why), so speed is all that is asked of it.
#![expect(
    clippy::indexing_slicing,
    reason = "256 places, and a place is a byte: no index can miss, and the compiler knows"
)]

/// The first bytes of an RC4 stream tell about its key; both sides throw so many away.
const DISCARDED: usize = 1_024;

/// One direction of one connection.
#[derive(Clone)]
pub(crate) struct Rc4 {
    /// 256 values of one byte each: whole words move faster than bytes.
    state: [u32; 256],
    at: u8,
    swap: u8,
}

/// The state is the key of what comes next, so it is not shown.
impl std::fmt::Debug for Rc4 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rc4").finish_non_exhaustive()
    }
}

impl Rc4 {
    /// A stream as MSE uses it: keyed with a SHA-1, its beginning thrown away.
    pub(crate) fn new(key: &[u8; 20]) -> Self {
        let mut cipher = Self::keyed(key);
        cipher.apply(&mut [0; DISCARDED]);
        cipher
    }

    fn keyed(key: &[u8]) -> Self {
        let mut state: [u32; 256] = [0; 256];
        for (value, number) in state.iter_mut().zip(0..) {
            *value = number;
        }
        let mut swap = 0_u8;
        for (at, part) in (0..=u8::MAX).zip(key.iter().cycle()) {
            swap = swap.wrapping_add(low(state[usize::from(at)])).wrapping_add(*part);
            state.swap(usize::from(at), usize::from(swap));
        }
        Self {
            state,
            at: 0,
            swap: 0,
        }
    }

    /// Hides these bytes, or shows them again. Eight at a time: one write to memory instead of eight.
    pub(crate) fn apply(&mut self, bytes: &mut [u8]) {
        let mut steps = Steps::of(self);
        let (words, rest) = bytes.as_chunks_mut();
        for word in words {
            let mut mask = 0;
            for place in 0..8 {
                mask |= u64::from(steps.next() & 0xff) << (8 * place);
            }
            *word = (u64::from_le_bytes(*word) ^ mask).to_le_bytes();
        }
        for byte in rest {
            *byte ^= low(steps.next());
        }
        (self.at, self.swap) = (steps.at.wrapping_sub(1), steps.swap);
    }
}

/// The cipher at work. The value of the next place is read before this step's two are written, so that a processor need not
/// wait to see whether they are the same; where they are, the next value is known.
struct Steps<'a> {
    state: &'a mut [u32; 256],
    at: u8,
    swap: u8,
    /// What stands at `at`.
    value: u32,
}

impl<'a> Steps<'a> {
    fn of(cipher: &'a mut Rc4) -> Self {
        let at = cipher.at.wrapping_add(1);
        Self {
            value: cipher.state[usize::from(at)],
            state: &mut cipher.state,
            at,
            swap: cipher.swap,
        }
    }

    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "its fields must live in registers: a call would double the time"
    )]
    fn next(&mut self) -> u32 {
        let value = self.value;
        self.swap = self.swap.wrapping_add(low(value));
        let other = self.state[usize::from(self.swap)];
        let following = self.at.wrapping_add(1);
        let read = self.state[usize::from(following)];
        self.state[usize::from(self.at)] = other;
        self.state[usize::from(self.swap)] = value;
        self.value = if following == self.swap { value } else { read };
        self.at = following;
        self.state[usize::from(low(value.wrapping_add(other)))]
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low byte is what is meant")]
const fn low(word: u32) -> u8 {
    word as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes of a key's stream from an offset on.
    fn stream(key: &[u8], offset: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; offset + length];
        Rc4::keyed(key).apply(&mut bytes);
        bytes.split_off(offset)
    }

    #[track_caller]
    fn check(key: &str, offset: usize, expected: &str) {
        let hex = &data_encoding::HEXLOWER;
        let key = hex.decode(key.as_bytes()).unwrap();
        assert_eq!(hex.encode(&stream(&key, offset, 16)), expected);
    }

    #[test]
    fn streams_are_those_of_rfc_6229() {
        check("0102030405", 0, "b2396305f03dc027ccc3524a0a1118a8");
        check("0102030405", 1_024, "30abbcc7c20b01609f23ee2d5f6bb7df");
        check("0102030405", 4_096, "ff25b58995996707e51fbdf08b34d875");
        check(
            "0102030405060708090a0b0c0d0e0f10",
            0,
            "9ac7cc9a609d1ef7b2932899cde41b97",
        );
        check(
            "0102030405060708090a0b0c0d0e0f10",
            1_536,
            "ffa0b514647ec04f6306b892ae661181",
        );
        check("833222772a", 0, "80ad97bdc973df8a2e879e92a497efda");
    }

    #[test]
    fn the_beginning_of_a_stream_is_thrown_away() {
        let key = [7; 20];
        let mut bytes = [0; 16];
        Rc4::new(&key).apply(&mut bytes);
        assert_eq!(bytes.as_slice(), stream(&key, DISCARDED, 16));
    }

    proptest! {
        #[test]
        fn a_stream_is_the_same_however_it_is_cut(
            key in prop::array::uniform20(any::<u8>()),
            bytes in prop::collection::vec(any::<u8>(), 0..2_000),
            cuts in prop::collection::vec(1_usize..300, 1..8),
        ) {
            let mut whole = bytes.clone();
            Rc4::new(&key).apply(&mut whole);
            let (mut cipher, mut parts) = (Rc4::new(&key), bytes);
            let (mut rest, mut cuts) = (parts.as_mut_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at_mut((*cuts.next().unwrap()).min(rest.len()));
                cipher.apply(now);
                rest = later;
            }
            prop_assert_eq!(whole, parts);
        }
    }
}
