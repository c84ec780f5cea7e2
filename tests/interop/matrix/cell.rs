//! One cell of the matrix: a client and one way in which a torrent passes.

use std::fmt;

use tests::clients::{Client, Source, Terms};
use tests::rig::{Family, digests};
use tests::scene::{LIMIT, Rules, Scene, Torrent, check_same, leeches, seeds};

use crate::facts::{CLIENTS, name};

/// Who has it all at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    TheySeed,
    TheyLeech,
}

/// The kind of torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    V1,
    V2,
    Hybrid,
}

/// How both sides talk: neither takes the other way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    Plain,
    Encrypted,
}

/// What the side that downloads is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    File,
    Magnet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub client: Client,
    pub way: Way,
    pub kind: Kind,
    pub talk: Talk,
    pub given: Given,
    pub family: Family,
}

pub(crate) const WAYS: [Way; 2] = [Way::TheySeed, Way::TheyLeech];
pub(crate) const KINDS: [Kind; 3] = [Kind::V1, Kind::V2, Kind::Hybrid];
pub(crate) const TALKS: [Talk; 2] = [Talk::Plain, Talk::Encrypted];
pub(crate) const GIVEN: [Given; 2] = [Given::File, Given::Magnet];
pub(crate) const FAMILIES: [Family; 2] = [Family::IPv4, Family::IPv6];

impl Cell {
    /// Every cell there is, client by client.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let ways = WAYS
            .into_iter()
            .flat_map(|way| KINDS.map(|kind| (way, kind)))
            .flat_map(|(way, kind)| TALKS.map(|talk| (way, kind, talk)))
            .flat_map(|(way, kind, talk)| GIVEN.map(|given| (way, kind, talk, given)))
            .flat_map(|(way, kind, talk, given)| FAMILIES.map(|family| (way, kind, talk, given, family)));
        CLIENTS.into_iter().flat_map(move |client| {
            ways.clone().map(move |(way, kind, talk, given, family)| Self {
                client,
                way,
                kind,
                talk,
                given,
                family,
            })
        })
    }

    fn rules(self) -> Rules {
        let (ours, theirs) = match self.talk {
            Talk::Plain => ("off", Terms::Plain),
            Talk::Encrypted => ("require", Terms::Hidden),
        };
        Rules {
            ours,
            theirs,
            family: Some(self.family),
        }
    }

    fn source(self) -> fn(&Torrent) -> Source {
        match self.given {
            Given::File => Torrent::as_file,
            Given::Magnet => Torrent::as_magnet,
        }
    }

    /// Does it, between us and the client or between libtorrent and the client; panics with words where it fails.
    pub(crate) fn run(self, rivals: bool) {
        let scene = Scene::with_rules(self.rules());
        let option = match self.kind {
            Kind::V1 => "--v1",
            Kind::V2 => "--v2",
            Kind::Hybrid => "--hybrid",
        };
        let torrent = scene.photographs(option);
        match (self.way, rivals) {
            (Way::TheyLeech, false) => leeches(&scene, self.client, &torrent, self.source()),
            (Way::TheySeed, false) => seeds(&scene, self.client, &torrent, self.source()),
            (Way::TheyLeech, true) => self.pass(&scene, &torrent, Client::Libtorrent, self.client),
            (Way::TheySeed, true) => self.pass(&scene, &torrent, self.client, Client::Libtorrent),
        }
    }

    /// From one of the others to another.
    fn pass(self, scene: &Scene, torrent: &Torrent, giver: Client, taker: Client) {
        let seeding = scene.they_seed(giver, torrent);
        let into = scene.place("into");
        let mut peer = scene.they_leech(taker, &self.source()(torrent), &into);
        peer.wait_until_done(LIMIT);
        let folder = torrent.content.file_name().unwrap_or_default();
        check_same(taker, &digests(&torrent.content), &digests(&into.join(folder)));
        drop(seeding);
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {} {} {:?}",
            name(self.client),
            self.way,
            self.kind,
            self.talk,
            self.given,
            self.family
        )
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TheySeed => "seeds",
            Self::TheyLeech => "leeches",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Hybrid => "hybrid",
        })
    }
}

impl fmt::Display for Talk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Encrypted => "MSE",
        })
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => ".torrent",
            Self::Magnet => "magnet",
        })
    }
}
