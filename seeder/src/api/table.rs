//! Every route, one row each: the guard asks it how long a request may take, the API's description shows it, and a test walks it.
//! All are the owner's; only the description is everyone's.

use std::time::Duration;

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub method: &'static str,
    /// Below [`edge::client::PREFIX`], with the names of its parts in braces.
    pub path: &'static str,
    pub work: Work,
}

/// What a route does, which says how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Anyone may read it.
    Open,
    /// It looks, or changes something in memory.
    Quick,
    /// It takes a .torrent, which may be large and come slowly.
    Receive,
    /// It moves files, perhaps to another disk.
    Move,
}

impl Work {
    /// An answer is there within this time; what was begun goes on.
    pub(crate) fn time(self) -> Duration {
        Duration::from_secs(match self {
            Self::Open | Self::Quick => 30,
            Self::Receive => 330,
            Self::Move => 86_400,
        })
    }
}

const fn rule(method: &'static str, path: &'static str, work: Work) -> Rule {
    Rule { method, path, work }
}

/// Every route of the API.
pub const TABLE: &[Rule] = &[
    rule("GET", "/openapi.json", Work::Open),
    rule("GET", "/stats", Work::Quick),
    rule("GET", "/events", Work::Quick),
    rule("GET", "/limits", Work::Quick),
    rule("PATCH", "/limits", Work::Quick),
    rule("GET", "/torrents", Work::Quick),
    rule("POST", "/torrents", Work::Receive),
    rule("GET", "/torrents/{hash}", Work::Quick),
    rule("PATCH", "/torrents/{hash}", Work::Quick),
    rule("DELETE", "/torrents/{hash}", Work::Quick),
    rule("POST", "/torrents/{hash}/pause", Work::Quick),
    rule("POST", "/torrents/{hash}/resume", Work::Quick),
    rule("POST", "/torrents/{hash}/recheck", Work::Quick),
    rule("POST", "/torrents/{hash}/announce", Work::Quick),
    rule("POST", "/torrents/{hash}/peers", Work::Quick),
    rule("POST", "/torrents/{hash}/move", Work::Move),
    rule("POST", "/torrents/{hash}/rename", Work::Move),
];

/// The row of a route; `path` as it stands in the table.
pub fn find(method: &str, path: &str) -> Option<&'static Rule> {
    TABLE
        .iter()
        .find(|rule| rule.method == method && rule.path == path)
}
