//! What people hold in their hands: passkeys, API tokens, invitation codes and the owner's first code. Passkeys are derived
//! from the server's secret, so a stolen database holds none; of the others only a hash is kept (DESIGN decision 12).
//! Whatever is compared with a secret is compared in constant time.

use std::fmt;

use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};
use hmac::{Hmac, KeyInit, Mac};
use rand::CryptoRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::ids::{MemberId, TorrentId};

/// Letters and digits of a passkey.
pub const PASSKEY_LENGTH: usize = 32;

/// What every API token begins with, so that scanners of source code recognise a leaked one.
pub const TOKEN_PREFIX: &str = "kin_";

/// Random bytes of an API token.
const TOKEN_BYTES: usize = 32;

/// Random bytes of a code that people read out: 80 bits.
const CODE_BYTES: usize = 10;

/// Characters of such a code, five bits each.
const CODE_LETTERS: usize = CODE_BYTES * 8 / 5;

/// Crockford's alphabet: no I, L, O and U, so that nothing is mistaken and little is rude.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A code is shown in groups of so many characters.
const CODE_GROUP: usize = 4;

/// Hostile input is not looked at beyond this: a code has 16 characters, and dashes and blanks between them.
const CODE_INPUT_MAX: usize = 64;

/// The first byte of a passkey: version 1 in the two upper bits.
const VERSION: u8 = 0b0100_0000;
const VERSION_MASK: u8 = 0b1100_0000;
const GUEST: u8 = 0b0010_0000;
const ONE_TORRENT: u8 = 0b0001_0000;
const GENERATION_MASK: u8 = 0b0000_1111;

/// Bytes of proof in a passkey.
const PROOF: usize = 15;

/// What a key's holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// Somebody who was added or invited.
    Member,
    /// Somebody who holds a share link; the key dies with it.
    Guest,
}

/// Everything that a passkey is derived from, beside the server's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFields {
    pub kind: KeyKind,
    pub member: MemberId,
    pub generation: u32,
    /// The one torrent that the key is good for; `None` is everything.
    pub scope: Option<TorrentId>,
}

/// What a key says of itself. Nothing of it is true before [`Secret::proves`] said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub kind: KeyKind,
    pub member: MemberId,
    /// The lower four bits of the generation: enough to tell the current key from the one before with a single HMAC.
    pub generation: u8,
    pub one_torrent: bool,
}

impl Claim {
    /// The newest generation that the key can be of, where the member has reached `current`.
    pub fn generation(&self, current: u32) -> Option<u32> {
        let behind = current.wrapping_sub(u32::from(self.generation)) & u32::from(GENERATION_MASK);
        current.checked_sub(behind)
    }
}

/// A passkey in the form in which it stands in an announce URL: 32 lower-case letters and digits. Not shown by `{:?}`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Passkey([u8; PASSKEY_LENGTH]);

impl Passkey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Compares in constant time with what somebody sent.
    pub fn is(&self, key: &[u8]) -> bool {
        self.0.ct_eq(key).into()
    }
}

impl fmt::Display for Passkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Passkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passkey(…)")
    }
}

/// The server's secret: all passkeys hang on it. Not shown by `{:?}`.
#[derive(Clone)]
pub struct Secret {
    /// Keyed once: a copy saves every derivation two of its four blocks of SHA-256.
    keyed: Hmac<Sha256>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Takes the 32 bytes of the file `secret`.
    pub fn new(bytes: &[u8; 32]) -> Self {
        let mut block = [0; 64];
        for (to, from) in block.iter_mut().zip(bytes) {
            *to = *from;
        }
        // A key shorter than a block is filled up with zeros (RFC 2104), so a whole block says the same.
        Self {
            keyed: Hmac::new(&block.into()),
        }
    }

    /// The key of these fields.
    pub fn derive(&self, fields: &KeyFields) -> Passkey {
        let mut raw = [0; 20];
        let head = head(fields);
        let proof = self.proof(fields);
        for (to, from) in raw.iter_mut().zip(head.iter().chain(&proof)) {
            *to = *from;
        }
        let mut text = [0; PASSKEY_LENGTH];
        BASE32_NOPAD.encode_mut(&raw, &mut text);
        text.make_ascii_lowercase();
        Passkey(text)
    }

    /// Whether a key is the one of these fields; costs one HMAC.
    pub fn proves(&self, key: &[u8], fields: &KeyFields) -> bool {
        self.derive(fields).is(key)
    }

    fn proof(&self, fields: &KeyFields) -> [u8; PROOF] {
        let mut mac = self.keyed.clone();
        mac.update(b"kinswarm key");
        mac.update(&[match fields.kind {
            KeyKind::Member => 0,
            KeyKind::Guest => 1,
        }]);
        mac.update(&fields.member.0.to_be_bytes());
        mac.update(&fields.generation.to_be_bytes());
        match fields.scope {
            None => mac.update(&[0]),
            Some(torrent) => {
                mac.update(&[1]);
                mac.update(&torrent.0.to_be_bytes());
            }
        }
        let mut proof = [0; PROOF];
        for (to, from) in proof.iter_mut().zip(mac.finalize().into_bytes()) {
            *to = from;
        }
        proof
    }
}

/// The open part of a key: flags and the member's number.
fn head(fields: &KeyFields) -> [u8; 5] {
    let guest = if fields.kind == KeyKind::Guest { GUEST } else { 0 };
    let one_torrent = if fields.scope.is_some() { ONE_TORRENT } else { 0 };
    let [.., low] = fields.generation.to_be_bytes();
    let [a, b, c, d] = fields.member.0.to_be_bytes();
    [VERSION | guest | one_torrent | low & GENERATION_MASK, a, b, c, d]
}

/// Reads what a key says of itself; `None` for anything that is no passkey by its form.
pub fn read(key: &[u8]) -> Option<Claim> {
    if key.len() != PASSKEY_LENGTH || key.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    let mut raw = [0; 20];
    BASE32_NOPAD_NOCASE.decode_mut(key, &mut raw).ok()?;
    let [flags, a, b, c, d, ..] = raw;
    (flags & VERSION_MASK == VERSION).then(|| Claim {
        kind: if flags & GUEST == 0 {
            KeyKind::Member
        } else {
            KeyKind::Guest
        },
        member: MemberId(u32::from_be_bytes([a, b, c, d])),
        generation: flags & GENERATION_MASK,
        one_torrent: flags & ONE_TORRENT != 0,
    })
}

/// A secret that is told once and kept as a hash only. Its text is random enough (80 bits and more) that no salt and no
/// slow hash is needed.
#[derive(Clone, PartialEq, Eq)]
pub struct Told {
    text: String,
    hash: [u8; 32],
}

impl Told {
    /// The text for the one who asked for it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is kept.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told(…)")
    }
}

/// A new API token: `kin_` and 52 lower-case letters and digits.
pub fn make_token(dice: &mut impl CryptoRng) -> Told {
    let mut raw = [0; TOKEN_BYTES];
    dice.fill_bytes(&mut raw);
    let text = format!("{TOKEN_PREFIX}{}", BASE32_NOPAD.encode(&raw).to_ascii_lowercase());
    let hash = Sha256::digest(&text).into();
    Told { text, hash }
}

/// The hash of a token that somebody sent; `None` for what is no token by its form.
pub fn token_hash(text: &str) -> Option<[u8; 32]> {
    let body = text.strip_prefix(TOKEN_PREFIX)?;
    let fits = body.len() == BASE32_NOPAD.encode_len(TOKEN_BYTES);
    let letters = |byte: u8| matches!(byte, b'a'..=b'z' | b'2'..=b'7');
    (fits && body.bytes().all(letters)).then(|| Sha256::digest(text).into())
}

/// A new code for an invitation or the first owner: four groups of four, without the letters that are taken for digits.
pub fn make_code(dice: &mut impl CryptoRng) -> Told {
    let mut raw = [0; CODE_BYTES];
    dice.fill_bytes(&mut raw);
    let number = raw
        .iter()
        .fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let bare: String = (0..CODE_LETTERS)
        .rev()
        .map(|place| letter((number >> (5 * place) & 31) as usize))
        .collect();
    let hash = Sha256::digest(&bare).into();
    let mut text = String::with_capacity(bare.len() + bare.len() / CODE_GROUP);
    for (index, letter) in bare.chars().enumerate() {
        if index > 0 && index % CODE_GROUP == 0 {
            text.push('-');
        }
        text.push(letter);
    }
    Told { text, hash }
}

fn letter(value: usize) -> char {
    ALPHABET.get(value).copied().map_or('0', char::from)
}

/// The hash of a code as somebody typed it: case, dashes and blanks do not matter, O is 0, I and L are 1. `None` for what
/// is no code by its form.
pub fn code_hash(typed: &str) -> Option<[u8; 32]> {
    if typed.len() > CODE_INPUT_MAX {
        return None;
    }
    let mut bare = String::with_capacity(CODE_LETTERS);
    for letter in typed.chars() {
        match letter.to_ascii_uppercase() {
            '-' | ' ' | '\u{2010}'..='\u{2015}' => (),
            'O' => bare.push('0'),
            'I' | 'L' => bare.push('1'),
            letter if u8::try_from(letter).is_ok_and(|byte| ALPHABET.contains(&byte)) => bare.push(letter),
            _ => return None,
        }
    }
    (bare.len() == CODE_LETTERS).then(|| Sha256::digest(&bare).into())
}

/// Whether two hashes are the same, in constant time.
pub fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.ct_eq(right).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const FIELDS: KeyFields = KeyFields {
        kind: KeyKind::Member,
        member: MemberId(7),
        generation: 1,
        scope: None,
    };

    fn secret() -> Secret {
        Secret::new(&[42; 32])
    }

    fn fields() -> impl Strategy<Value = KeyFields> {
        let scope = proptest::option::of(any::<u32>());
        let parts = (any::<bool>(), any::<u32>(), any::<u32>(), scope);
        parts.prop_map(|(guest, member, generation, scope)| KeyFields {
            kind: if guest { KeyKind::Guest } else { KeyKind::Member },
            member: MemberId(member),
            generation,
            scope: scope.map(TorrentId),
        })
    }

    /// The same bytes by another way: `hmac(b'kinswarm key' ‖ …)` of Python.
    #[test]
    fn a_key_is_the_one_that_it_always_was() {
        assert_eq!(
            secret().derive(&FIELDS).as_str(),
            "ieaaaaahe5k52ojtix6fw5mrsl373ku2"
        );
        let guest = KeyFields {
            kind: KeyKind::Guest,
            scope: Some(TorrentId(3)),
            generation: 18,
            ..FIELDS
        };
        assert_eq!(
            secret().derive(&guest).as_str(),
            "oiaaaaahn5b55nmqjjiefynd37odmexs"
        );
    }

    #[test]
    fn other_secrets_members_generations_and_scopes_have_other_keys() {
        let key = secret().derive(&FIELDS);
        let others = [
            Secret::new(&[43; 32]).derive(&FIELDS),
            secret().derive(&KeyFields {
                member: MemberId(8),
                ..FIELDS
            }),
            secret().derive(&KeyFields {
                generation: 2,
                ..FIELDS
            }),
            secret().derive(&KeyFields {
                generation: 17,
                ..FIELDS
            }),
            secret().derive(&KeyFields {
                kind: KeyKind::Guest,
                ..FIELDS
            }),
            secret().derive(&KeyFields {
                scope: Some(TorrentId(1)),
                ..FIELDS
            }),
            secret().derive(&KeyFields {
                scope: Some(TorrentId(0)),
                ..FIELDS
            }),
        ];
        for (index, other) in others.iter().enumerate() {
            assert_ne!(*other, key, "{index}");
            assert!(!key.is(other.as_str().as_bytes()));
        }
    }

    #[test]
    fn the_generation_is_known_by_its_last_bits() {
        let claim = |generation| {
            read(
                secret()
                    .derive(&KeyFields { generation, ..FIELDS })
                    .as_str()
                    .as_bytes(),
            )
            .unwrap()
        };
        assert_eq!(claim(5).generation(5), Some(5));
        assert_eq!(claim(5).generation(6), Some(5));
        assert_eq!(claim(5).generation(20), Some(5));
        assert_eq!(
            claim(5).generation(21),
            Some(21),
            "sixteen are as many as the key tells apart"
        );
        assert_eq!(claim(5).generation(4), None, "a key of the future is none");
        assert_eq!(claim(u32::MAX).generation(u32::MAX), Some(u32::MAX));
    }

    #[test]
    fn what_is_no_key_by_its_form_is_none() {
        let key = secret().derive(&FIELDS).to_string();
        assert!(read(key.as_bytes()).is_some());
        let short = key.get(1..).unwrap();
        for wrong in [
            "",
            "announce",
            short,
            &format!("{key}a"),
            &key.to_uppercase(),
            &key.replace('e', "1"),
            &"a".repeat(32),
            &"0".repeat(32),
            &"é".repeat(16),
        ] {
            assert_eq!(read(wrong.as_bytes()), None, "{wrong}");
            assert!(!secret().derive(&FIELDS).is(wrong.as_bytes()));
        }
    }

    #[test]
    fn nothing_secret_is_shown_by_debug() {
        let mut dice = StdRng::seed_from_u64(1);
        let key = secret().derive(&FIELDS);
        let token = make_token(&mut dice);
        let shown = format!("{key:?} {:?} {token:?}", secret());
        assert!(
            !shown.contains(key.as_str()) && !shown.contains(token.text()),
            "{shown}"
        );
        assert!(!shown.contains("42"), "{shown}");
    }

    #[test]
    fn a_token_is_known_by_its_hash_and_by_nothing_less() {
        let mut dice = StdRng::seed_from_u64(1);
        let token = make_token(&mut dice);
        assert_eq!((token.text().len(), token.text().get(..4)), (56, Some("kin_")));
        assert!(same(&token_hash(token.text()).unwrap(), &token.hash()));
        assert_ne!(make_token(&mut dice).hash(), token.hash());
        let cut = token.text().get(..55).unwrap();
        for wrong in [
            "",
            "kin_",
            cut,
            &format!("{cut}!"),
            &token.text().to_uppercase(),
            &token.text().replace("kin_", "nik_"),
        ] {
            assert_eq!(token_hash(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_code_is_read_however_people_type_it() {
        let mut dice = StdRng::seed_from_u64(1);
        let code = make_code(&mut dice);
        let text = code.text();
        assert_eq!((text.len(), text.matches('-').count()), (19, 3), "{text}");
        let typed = [
            text.to_owned(),
            text.to_lowercase(),
            text.replace('-', ""),
            text.replace('-', " "),
            format!("  {} ", text.replace('-', "–")),
            text.replace('0', "o").replace('1', "l"),
            text.replace('0', "O").replace('1', "i"),
        ];
        for typed in typed {
            assert_eq!(code_hash(&typed), Some(code.hash()), "{typed}");
        }
        let cut = text.get(1..).unwrap();
        for wrong in [
            "",
            "-",
            cut,
            &format!("{text}A"),
            &text.replace('-', "_"),
            &format!("{cut}U"),
            &"-".repeat(65),
            &format!("{cut}ß"),
        ] {
            assert_eq!(code_hash(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_key_says_what_it_is_and_proves_it(fields in fields(), other in fields()) {
            let key = secret().derive(&fields);
            let claim = read(key.as_str().as_bytes()).unwrap();
            prop_assert_eq!((claim.kind, claim.member), (fields.kind, fields.member));
            prop_assert_eq!(claim.one_torrent, fields.scope.is_some());
            prop_assert_eq!(claim.generation(fields.generation), Some(fields.generation));
            prop_assert!(secret().proves(key.as_str().as_bytes(), &fields));
            prop_assert_eq!(secret().proves(key.as_str().as_bytes(), &other), fields == other);
        }

        #[test]
        fn a_key_with_one_letter_changed_proves_nothing(fields in fields(), place in 0..32_usize, letter in "[a-z2-7]") {
            let key = secret().derive(&fields).to_string();
            let mut changed = key.clone();
            changed.replace_range(place..=place, &letter);
            prop_assert_eq!(secret().proves(changed.as_bytes(), &fields), changed == key);
        }

        #[test]
        fn no_bytes_make_reading_stumble(key in prop::collection::vec(any::<u8>(), 0..80), text in ".{0,80}") {
            let claim = read(&key);
            prop_assert!(claim.is_none() || key.len() == PASSKEY_LENGTH);
            let (_, _) = (token_hash(&text), code_hash(&text));
        }

        #[test]
        fn every_code_has_the_letters_that_are_read(seed: u64) {
            let mut dice = StdRng::seed_from_u64(seed);
            let code = make_code(&mut dice);
            prop_assert_eq!(code_hash(code.text()), Some(code.hash()));
        }
    }
}
