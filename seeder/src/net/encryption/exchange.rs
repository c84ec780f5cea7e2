//! The key exchange: Diffie and Hellman's, over MSE's prime of 768 bits. A few tenths of a millisecond of arithmetic, which no
//! async thread does.

use crypto_bigint::modular::ConstMontyForm;
use crypto_bigint::{U192, U768, const_monty_params};
use rand::{Rng, RngExt};

/// Bytes of a public key, and of what both sides come to share.
pub(crate) const KEY_LENGTH: usize = 96;

/// Bits of a private exponent: more would make nothing harder that RC4 leaves easy.
const SECRET_BITS: u32 = 160;

const_monty_params!(
    Prime,
    U768,
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd\
     ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a63a36210000000000090563",
    "The prime of MSE, which is not RFC 2409's."
);

type Residue = ConstMontyForm<Prime, { U768::LIMBS }>;

/// What one side shows the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PublicKey(pub(crate) [u8; KEY_LENGTH]);

/// What both sides know in the end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SharedSecret(pub(crate) [u8; KEY_LENGTH]);

/// What one side keeps to itself.
#[derive(Clone, Copy)]
pub(crate) struct Secret(U192);

impl Secret {
    pub(crate) fn new(dice: &mut impl Rng) -> Self {
        let mut bytes = [0; 24];
        let (_, exponent) = bytes.split_at_mut(4);
        dice.fill(exponent);
        Self(U192::from_be_slice(&bytes))
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        PublicKey(self.raise(&U768::from(2_u8)))
    }

    /// What we share with the owner of this key. `None` for keys that would make it known to everyone.
    pub(crate) fn agree(&self, theirs: &PublicKey) -> Option<SharedSecret> {
        let theirs = U768::from_be_slice(&theirs.0);
        let (one, last) = (U768::ONE, Residue::ZERO - Residue::ONE);
        let sound = theirs > one && theirs < last.retrieve();
        sound.then(|| SharedSecret(self.raise(&theirs)))
    }

    fn raise(&self, base: &U768) -> [u8; KEY_LENGTH] {
        let power = Residue::new(base).pow_bounded_exp(&self.0, SECRET_BITS);
        power.retrieve().to_be_bytes().into()
    }
}

/// Secrets are not shown.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedSecret").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    use super::*;

    fn key(number: U768) -> PublicKey {
        PublicKey(number.to_be_bytes().into())
    }

    #[test]
    fn both_sides_come_to_share_the_same() {
        let mut dice = SmallRng::seed_from_u64(1);
        let (ours, theirs) = (Secret::new(&mut dice), Secret::new(&mut dice));
        let shared = ours.agree(&theirs.public_key());
        assert_eq!(shared, theirs.agree(&ours.public_key()));
        assert_ne!(shared, ours.agree(&ours.public_key()));
    }

    /// 2^160 mod P is 2^160 itself; 2^768 mod P is 2^768 - P.
    #[test]
    fn small_powers_are_as_arithmetic_has_them() {
        let two_to_the_160 = U768::ONE << 160;
        assert_eq!(Secret(U192::from(160_u8)).public_key(), key(two_to_the_160));
        let prime = Residue::ZERO - Residue::ONE;
        let wrapped = prime.retrieve().wrapping_neg().wrapping_sub(&U768::ONE);
        assert_eq!(Secret(U192::from(768_u16)).public_key(), key(wrapped));
    }

    #[test]
    fn keys_that_make_the_secret_known_are_refused() {
        let secret = Secret::new(&mut SmallRng::seed_from_u64(2));
        let last = (Residue::ZERO - Residue::ONE).retrieve();
        for bad in [
            U768::ZERO,
            U768::ONE,
            last,
            last.wrapping_add(&U768::ONE),
            U768::MAX,
        ] {
            assert_eq!(secret.agree(&key(bad)), None, "{bad}");
        }
        assert!(secret.agree(&key(U768::from(2_u8))).is_some());
        assert!(secret.agree(&key(last.wrapping_sub(&U768::ONE))).is_some());
    }
}
