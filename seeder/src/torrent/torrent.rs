//! The machine of one torrent: every input has one arm and one call.

use std::collections::VecDeque;

use rand::Rng;
use shared::bitfield::Bitfield;
use shared::moment::Moment;

use super::events::{Content, Identity, Input, Output, Settings, Status};

/// One torrent.
#[derive(Debug)]
pub struct Torrent {
    identity: Identity,
    content: Option<Content>,
    settings: Settings,
    outputs: VecDeque<Output>,
}

impl Torrent {
    /// A torrent with its content, or without it a magnet link's, which asks its peers for the metadata first.
    pub fn new(_now: Moment, identity: Identity, content: Option<Content>, settings: Settings) -> Self {
        Self {
            identity,
            content,
            settings,
            outputs: VecDeque::new(),
        }
    }

    /// Tells the torrent what happened. Never blocks, never fails: trouble comes out of `poll`.
    pub fn handle(&mut self, _now: Moment, input: Input, _rng: &mut impl Rng) {
        if let Input::Content(content) = input {
            self.content = Some(content);
        }
    }

    /// Takes the next thing to be done. Several inputs may be handled first; drain to `None` before waiting.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle`] with [`Input::Tick`] if nothing happens before.
    pub fn deadline(&self) -> Option<Moment> {
        None
    }

    /// Facts for progress.
    pub fn status(&self) -> Status {
        Status::default()
    }

    /// What is verified; nothing while metadata are missing.
    pub fn have(&self) -> Option<&Bitfield> {
        self.content.as_ref().map(|content| &content.have)
    }

    /// By what this torrent is known.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Bounds and habits.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}
