//! The side that called.

use bytes::{Buf, BufMut, BytesMut};
use rand::{Rng, RngExt};
use shared::id::InfoHash;
use shared::peer_wire::PROTOCOL;

use super::exchange::{KEY_LENGTH, PublicKey, SharedSecret};
use super::{Mask, Method, Need, PAD_MAX, Policy, Rc4, Refusal, Secured, VC, find, keys, reveal};

/// An encrypted handshake with somebody we called.
#[derive(Debug)]
pub(super) struct Caller {
    torrent: InfoHash,
    policy: Policy,
    heard: BytesMut,
    say: Vec<u8>,
    at: At,
}

#[derive(Debug)]
enum At {
    /// Its key is not here yet.
    Key,
    /// Its pad is coming, and behind it the mark.
    Pad {
        ours: Rc4,
        theirs: Rc4,
        mark: [u8; 8],
    },
    Choice {
        ours: Rc4,
        theirs: Rc4,
    },
    SecondPad {
        ours: Rc4,
        theirs: Rc4,
        method: Method,
        length: usize,
    },
    Done {
        ours: Rc4,
        theirs: Rc4,
        method: Method,
    },
    /// It came to nothing.
    Over,
}

impl Caller {
    pub(super) fn new(torrent: InfoHash, policy: Policy, key: &PublicKey, dice: &mut impl Rng) -> Self {
        Self {
            torrent,
            policy,
            heard: BytesMut::new(),
            say: with_pad(key, dice),
            at: At::Key,
        }
    }

    /// The host said this.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.heard.put_slice(bytes);
    }

    /// What is to be said now.
    pub(super) fn say(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.say)
    }

    /// What both sides share, and the first words, which leave together with the torrent's mask.
    pub(super) fn agreed(&mut self, secret: &SharedSecret, first_words: &[u8]) {
        let mut ours = keys::caller_cipher(secret, self.torrent);
        let mut theirs = keys::host_cipher(secret, self.torrent);
        let mut mark = VC;
        theirs.apply(&mut mark);
        self.say.put_slice(&keys::beginning(secret));
        self.say
            .put_slice(Mask::of(self.torrent).hidden(secret).as_bytes());
        let hidden_from = self.say.len();
        self.say.put_slice(&VC);
        self.say.put_u32(self.policy.offer());
        // No pad: what varies in length here are the first words.
        self.say.put_u16(0);
        self.say.put_u16(u16::try_from(first_words.len()).unwrap_or(0));
        self.say.put_slice(first_words);
        if let Some(hidden) = self.say.get_mut(hidden_from..) {
            ours.apply(hidden);
        }
        self.at = At::Pad { ours, theirs, mark };
    }

    /// Goes on as far as what was heard allows.
    pub(super) fn advance(&mut self) -> Result<Need, Refusal> {
        loop {
            let at = std::mem::replace(&mut self.at, At::Over);
            let (next, need) = self.step(at)?;
            self.at = next;
            if let Some(need) = need {
                return Ok(need);
            }
        }
    }

    fn step(&mut self, at: At) -> Result<(At, Option<Need>), Refusal> {
        match at {
            At::Key => self.key().map(|need| (At::Key, Some(need))),
            At::Pad { ours, theirs, mark } => match find(&self.heard, &mark)? {
                None => Ok((At::Pad { ours, theirs, mark }, Some(Need::Bytes))),
                Some(pad) => {
                    self.heard.advance(pad + mark.len());
                    Ok((At::Choice { ours, theirs }, None))
                }
            },
            At::Choice { ours, theirs } => self.choice(ours, theirs),
            At::SecondPad {
                ours,
                mut theirs,
                method,
                length,
            } => {
                let next = match reveal(&mut self.heard, length, &mut theirs) {
                    None => (
                        At::SecondPad {
                            ours,
                            theirs,
                            method,
                            length,
                        },
                        Some(Need::Bytes),
                    ),
                    Some(_) => (At::Done { ours, theirs, method }, None),
                };
                Ok(next)
            }
            done @ At::Done { .. } => Ok((done, Some(Need::Nothing))),
            At::Over => Err(Refusal::Keys),
        }
    }

    fn key(&mut self) -> Result<Need, Refusal> {
        if self.heard.starts_with(&PROTOCOL) {
            return Err(Refusal::Plain);
        }
        let Some(key) = self.heard.first_chunk::<KEY_LENGTH>() else {
            return Ok(Need::Bytes);
        };
        let key = PublicKey(*key);
        self.heard.advance(KEY_LENGTH);
        Ok(Need::Agreement(key))
    }

    fn choice(&mut self, ours: Rc4, mut theirs: Rc4) -> Result<(At, Option<Need>), Refusal> {
        let Some(mut words) = reveal(&mut self.heard, 6, &mut theirs) else {
            return Ok((At::Choice { ours, theirs }, Some(Need::Bytes)));
        };
        let choice = words.get_u32();
        let length = usize::from(words.get_u16());
        let offered = [Method::Plain, Method::Rc4]
            .into_iter()
            .find(|method| choice == method.bit() && self.policy.offer() & choice != 0);
        let method = offered.ok_or(Refusal::Method(choice))?;
        if length > PAD_MAX {
            return Err(Refusal::Pad);
        }
        Ok((
            At::SecondPad {
                ours,
                theirs,
                method,
                length,
            },
            None,
        ))
    }

    /// What stands, once nothing is needed any more.
    pub(super) fn finish(mut self) -> Option<Secured> {
        match self.at {
            At::Done {
                method: Method::Plain,
                ..
            } => Some(Secured {
                ciphers: None,
                early: self.heard,
            }),
            At::Done {
                ours,
                mut theirs,
                method: Method::Rc4,
            } => {
                theirs.apply(&mut self.heard);
                Some(Secured {
                    ciphers: Some((theirs, ours)),
                    early: self.heard,
                })
            }
            _ => None,
        }
    }
}

/// A key and a pad, so that no length gives the protocol away.
pub(super) fn with_pad(key: &PublicKey, dice: &mut impl Rng) -> Vec<u8> {
    let mut bytes = vec![0; KEY_LENGTH + dice.random_range(0..=PAD_MAX)];
    let (front, pad) = bytes.split_at_mut(KEY_LENGTH);
    front.copy_from_slice(&key.0);
    dice.fill(pad);
    bytes
}
