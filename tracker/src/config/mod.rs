//! Settings: what a file and the environment say ([`File`]), and what that means ([`Config`]). Defaults give way to a TOML
//! file, that to variables such as `TRACKER__HTTP__LISTEN`, and those to flags. A misspelt key is an error, a misspelt
//! variable a warning: neither becomes a default in silence.

mod change;
mod check;
mod file;
mod load;
mod office;
mod origin;
mod print;
#[cfg(test)]
mod tests;
mod typed;

pub use self::change::{Change, Changes};
pub use self::file::{
    AccountsSection, AdminSection, AnnounceSection, ClientsSection, File, HttpSection, LimitsSection,
    MembersSection, ReachabilitySection, ScrapeSection, SnapshotSection, TorrentsSection, TrackerSection,
};
pub(crate) use self::load::CONFIG_VARIABLE;
pub use self::load::{Loaded, Typed, load};
pub use self::origin::Origin;
pub use self::typed::{
    Accounts, Announce, Clients, Config, Http, Limits, Members, Mode, Scrape, Tls, Torrents,
};
pub use crate::http::desk::Admission;
