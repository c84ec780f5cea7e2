//! The scopes of tokens by name. `admin` has all others in it; those have nothing of each other, except that who may change
//! something may also look at it.

pub use crate::members::store::Scope;

/// Every scope: looking, never at keys; torrents; members, with their keys; everything.
pub const ALL: [Scope; 4] = [Scope::Read, Scope::Torrents, Scope::Members, Scope::Admin];

/// The name that people type.
pub fn name(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "read",
        Scope::Torrents => "torrents",
        Scope::Members => "members",
        Scope::Admin => "admin",
    }
}
