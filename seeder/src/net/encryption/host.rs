//! The side that was called.

use bytes::{Buf, BufMut, BytesMut};
use rand::Rng;
use shared::id::InfoHash;

use super::caller::with_pad;
use super::exchange::{KEY_LENGTH, PublicKey, SharedSecret};
use super::{
    FIRST_WORDS_MAX, Mask, Method, Need, PAD_MAX, Policy, Rc4, Refusal, Secured, VC, find, keys, reveal,
};

/// An encrypted handshake with somebody who called us.
#[derive(Debug)]
pub(super) struct Host {
    policy: Policy,
    heard: BytesMut,
    say: Vec<u8>,
    at: At,
}

#[derive(Debug)]
enum At {
    /// Its key is not here yet.
    Key,
    /// Its pad is coming, behind it the beginning and the torrent's mask.
    Pad {
        secret: SharedSecret,
    },
    /// Somebody looks for the torrent.
    Torrent {
        secret: SharedSecret,
    },
    Offer {
        ours: Rc4,
        theirs: Rc4,
    },
    SecondPad {
        ours: Rc4,
        theirs: Rc4,
        method: Method,
        length: usize,
    },
    FirstWords {
        ours: Rc4,
        theirs: Rc4,
        method: Method,
        length: usize,
    },
    Done {
        ours: Rc4,
        theirs: Rc4,
        method: Method,
        words: BytesMut,
    },
    /// It came to nothing.
    Over,
}

impl Host {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            heard: BytesMut::new(),
            say: Vec::new(),
            at: At::Key,
        }
    }

    /// The caller said this.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.heard.put_slice(bytes);
    }

    /// What is to be said now.
    pub(super) fn say(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.say)
    }

    /// What both sides share; our key leaves.
    pub(super) fn agreed(&mut self, key: &PublicKey, secret: SharedSecret, dice: &mut impl Rng) {
        self.say.extend(with_pad(key, dice));
        self.at = At::Pad { secret };
    }

    /// The caller means this torrent.
    pub(super) fn means(&mut self, torrent: InfoHash) {
        if let At::Torrent { secret } = &self.at {
            self.at = At::Offer {
                ours: keys::host_cipher(secret, torrent),
                theirs: keys::caller_cipher(secret, torrent),
            };
        }
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
            At::Key => Ok((At::Key, Some(self.key()))),
            At::Pad { secret } => self.mask(secret),
            At::Torrent { .. } | At::Over => Err(Refusal::Torrent),
            At::Offer { ours, theirs } => self.offer(ours, theirs),
            At::SecondPad {
                ours,
                mut theirs,
                method,
                length,
            } => {
                // Behind the pad stands the length of the first words.
                let Some(pad) = reveal(&mut self.heard, length + 2, &mut theirs) else {
                    return Ok((
                        At::SecondPad {
                            ours,
                            theirs,
                            method,
                            length,
                        },
                        Some(Need::Bytes),
                    ));
                };
                let length = pad
                    .last_chunk()
                    .map_or(0, |length| u16::from_be_bytes(*length))
                    .into();
                if length > FIRST_WORDS_MAX {
                    return Err(Refusal::FirstWords(length));
                }
                Ok((
                    At::FirstWords {
                        ours,
                        theirs,
                        method,
                        length,
                    },
                    None,
                ))
            }
            At::FirstWords {
                ours,
                mut theirs,
                method,
                length,
            } => match reveal(&mut self.heard, length, &mut theirs) {
                None => Ok((
                    At::FirstWords {
                        ours,
                        theirs,
                        method,
                        length,
                    },
                    Some(Need::Bytes),
                )),
                Some(words) => Ok((self.choose(ours, theirs, method, words), None)),
            },
            done @ At::Done { .. } => Ok((done, Some(Need::Nothing))),
        }
    }

    fn key(&mut self) -> Need {
        let Some(key) = self.heard.first_chunk::<KEY_LENGTH>() else {
            return Need::Bytes;
        };
        let key = PublicKey(*key);
        self.heard.advance(KEY_LENGTH);
        Need::Agreement(key)
    }

    fn mask(&mut self, secret: SharedSecret) -> Result<(At, Option<Need>), Refusal> {
        let mark = keys::beginning(&secret);
        let Some(pad) = find(&self.heard, &mark)? else {
            return Ok((At::Pad { secret }, Some(Need::Bytes)));
        };
        let behind = self
            .heard
            .get(pad + mark.len()..)
            .and_then(|rest| rest.first_chunk());
        let Some(hidden) = behind.copied().map(Mask::from_wire) else {
            return Ok((At::Pad { secret }, Some(Need::Bytes)));
        };
        self.heard.advance(pad + mark.len() + hidden.as_bytes().len());
        let shown = hidden.hidden(&secret);
        Ok((At::Torrent { secret }, Some(Need::Torrent(shown))))
    }

    fn offer(&mut self, ours: Rc4, mut theirs: Rc4) -> Result<(At, Option<Need>), Refusal> {
        let Some(mut words) = reveal(&mut self.heard, VC.len() + 6, &mut theirs) else {
            return Ok((At::Offer { ours, theirs }, Some(Need::Bytes)));
        };
        if words.split_to(VC.len()) != VC.as_slice() {
            return Err(Refusal::Keys);
        }
        let offer = words.get_u32();
        let method = self.policy.choose(offer).ok_or(Refusal::Method(offer))?;
        let length = usize::from(words.get_u16());
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

    fn choose(&mut self, mut ours: Rc4, theirs: Rc4, method: Method, words: BytesMut) -> At {
        let from = self.say.len();
        self.say.put_slice(&VC);
        self.say.put_u32(method.bit());
        self.say.put_u16(0);
        if let Some(hidden) = self.say.get_mut(from..) {
            ours.apply(hidden);
        }
        At::Done {
            ours,
            theirs,
            method,
            words,
        }
    }

    /// What stands, once nothing is needed any more. First words come before what was said behind the handshake.
    pub(super) fn finish(mut self) -> Option<Secured> {
        let At::Done {
            ours,
            mut theirs,
            method,
            words: mut early,
        } = self.at
        else {
            return None;
        };
        if method == Method::Rc4 {
            theirs.apply(&mut self.heard);
        }
        early.put(self.heard);
        let ciphers = (method == Method::Rc4).then_some((theirs, ours));
        Some(Secured { ciphers, early })
    }
}
