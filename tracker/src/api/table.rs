//! Who may do what: one row a route. The guard asks it before every answer, the API's description shows it, and a test walks it.
//! A route without a row is answered to nobody.

use std::time::Duration;

use super::auth::Identity;
use super::scope::{self, Scope};

/// Where the API begins on the public port.
pub use edge::client::PREFIX;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Anyone, also without a key.
    Anyone,
    /// Anyone with a good key, whatever it is for.
    Known,
    /// A member, for its own things.
    Member,
    /// A token of this scope.
    Scope(Scope),
    /// A token that may read everything, or has this scope: who may change something may look at it.
    Look(Scope),
    /// A member for its own things, or a token of this scope.
    MemberOr(Scope),
    /// The command line on this machine, over `control.sock`.
    Here,
}

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub method: &'static str,
    /// Below [`PREFIX`], with the names of its parts in braces.
    pub path: &'static str,
    pub who: Who,
}

/// A route has done its work within this time.
const WORK: Duration = Duration::from_secs(30);

/// The same for one that receives a .torrent, which may come slowly.
const RECEIVING: Duration = Duration::from_secs(330);

/// A backup writes as much as the database holds.
const BACKUP: Duration = Duration::from_secs(3_600);

impl Rule {
    /// How long the route may take.
    pub(crate) fn time(&self) -> Duration {
        match (self.method, self.path) {
            _ if self.receives_torrents() => RECEIVING,
            ("POST", "/backup") => BACKUP,
            _ => WORK,
        }
    }

    /// Whether its body is a .torrent, which may be large and come slowly; all others are a little JSON.
    pub(crate) fn receives_torrents(&self) -> bool {
        (self.method, self.path) == ("POST", "/torrents")
    }
}

const fn rule(method: &'static str, path: &'static str, who: Who) -> Rule {
    Rule { method, path, who }
}

/// Every route of the API.
pub const TABLE: &[Rule] = &[
    rule("GET", "/openapi.json", Who::Anyone),
    rule("POST", "/owner", Who::Anyone),
    rule("POST", "/invitations/redeem", Who::Anyone),
    rule("GET", "/policy", Who::Known),
    rule("GET", "/me", Who::Member),
    rule("POST", "/me/rotate", Who::Member),
    rule("GET", "/stats", Who::Scope(Scope::Read)),
    rule("GET", "/members", Who::Look(Scope::Members)),
    rule("POST", "/members", Who::Scope(Scope::Members)),
    rule("GET", "/members/{name}", Who::Look(Scope::Members)),
    rule("DELETE", "/members/{name}", Who::Scope(Scope::Members)),
    rule("POST", "/members/{name}/rotate", Who::Scope(Scope::Members)),
    rule("POST", "/members/{name}/disable", Who::Scope(Scope::Members)),
    rule("POST", "/members/{name}/enable", Who::Scope(Scope::Members)),
    rule("POST", "/members/{name}/expire", Who::Scope(Scope::Members)),
    rule("GET", "/members/{name}/trace", Who::Scope(Scope::Members)),
    rule("GET", "/invitations", Who::Look(Scope::Members)),
    rule("POST", "/invitations", Who::Scope(Scope::Members)),
    rule("DELETE", "/invitations/{id}", Who::Scope(Scope::Members)),
    rule("GET", "/tokens", Who::Scope(Scope::Admin)),
    rule("POST", "/tokens", Who::Scope(Scope::Admin)),
    rule("DELETE", "/tokens/{id}", Who::Scope(Scope::Admin)),
    rule("GET", "/torrents", Who::Look(Scope::Torrents)),
    rule("POST", "/torrents", Who::Scope(Scope::Torrents)),
    rule("GET", "/torrents/{hash}", Who::Look(Scope::Torrents)),
    rule("DELETE", "/torrents/{hash}", Who::Scope(Scope::Torrents)),
    rule("GET", "/torrents/{hash}/file", Who::MemberOr(Scope::Members)),
    rule("PUT", "/torrents/{hash}/tariff", Who::Scope(Scope::Torrents)),
    rule("DELETE", "/torrents/{hash}/tariff", Who::Scope(Scope::Torrents)),
    rule("GET", "/tariff", Who::Look(Scope::Torrents)),
    rule("PUT", "/tariff", Who::Scope(Scope::Admin)),
    rule("DELETE", "/tariff", Who::Scope(Scope::Admin)),
    rule("GET", "/audit", Who::Scope(Scope::Admin)),
    rule("POST", "/reload", Who::Scope(Scope::Admin)),
    rule("POST", "/backup", Who::Here),
];

/// The rule of a route; `path` as it stands in the table.
pub fn find(method: &str, path: &str) -> Option<&'static Rule> {
    TABLE
        .iter()
        .find(|rule| rule.method == method && rule.path == path)
}

/// What an identity gets at a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Welcome,
    /// A key is needed, and none was shown.
    KeyNeeded,
    /// The key is good, and not for this.
    NotForThis,
}

impl Who {
    /// Judges a caller. Everything may be done from this machine, except what only a member has.
    pub fn judge(self, identity: &Identity) -> Verdict {
        let good = match (self, identity) {
            (Self::Anyone, _) => true,
            (_, Identity::Stranger) => return Verdict::KeyNeeded,
            (Self::Known, _) => true,
            (Self::Member, _) => identity.member().is_some(),
            (Self::Scope(scope), _) => identity.may(scope),
            (Self::Look(scope), _) => identity.may(Scope::Read) || identity.may(scope),
            (Self::MemberOr(scope), _) => identity.member().is_some() || identity.may(scope),
            (Self::Here, _) => *identity == Identity::Owner,
        };
        if good {
            Verdict::Welcome
        } else {
            Verdict::NotForThis
        }
    }

    /// What a caller must show, in words.
    pub fn wanted(self) -> String {
        match self {
            Self::Anyone => "no key".to_owned(),
            Self::Known => "any good token or passkey".to_owned(),
            Self::Member => "a member's passkey, or a token that belongs to a member".to_owned(),
            Self::Scope(scope) => format!("a token with the scope {}", scope::name(scope)),
            Self::Look(scope) => format!("a token with the scope read or {}", scope::name(scope)),
            Self::MemberOr(scope) => {
                format!(
                    "a member's passkey, or a token with the scope {}",
                    scope::name(scope)
                )
            }
            Self::Here => "the tracker's command line on its own machine".to_owned(),
        }
    }
}
