//! What a token is for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A part of the API. `admin` has all others in it; those have nothing of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Looking at members, torrents and numbers, never at keys.
    Read,
    /// Registering and removing torrents.
    Torrents,
    /// Adding, changing and forgetting members, with their keys.
    Members,
    /// Everything.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::Read, Self::Torrents, Self::Members, Self::Admin];

    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Torrents => "torrents",
            Self::Members => "members",
            Self::Admin => "admin",
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name())
    }
}
