//! Who asks: found out once a request, by the guard, before anything of it is read.

use std::collections::BTreeSet;

use super::scope::Scope;
use crate::members::ids::MemberId;

/// Whose rights a request has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The command line on this machine: who may open the data folder needs no key.
    Owner,
    /// An API token, of a program or of a member.
    Token {
        /// The token's name, for the log of changes.
        name: String,
        scopes: BTreeSet<Scope>,
        member: Option<MemberId>,
    },
    /// A member with its passkey.
    Member(MemberId),
    /// No key was shown.
    Stranger,
}

impl Identity {
    /// The member who acts, if one does.
    pub fn member(&self) -> Option<MemberId> {
        match self {
            Self::Member(member) => Some(*member),
            Self::Token { member, .. } => *member,
            Self::Owner | Self::Stranger => None,
        }
    }

    /// Whether this scope is among its rights.
    pub fn may(&self, scope: Scope) -> bool {
        match self {
            Self::Owner => true,
            Self::Token { scopes, .. } => scopes.contains(&scope) || scopes.contains(&Scope::Admin),
            Self::Member(_) | Self::Stranger => false,
        }
    }
}
