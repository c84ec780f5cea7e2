//! The process's descriptors: as many as the system gives, and bounds that fit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Listeners, trackers, the database, logs, and what a runtime needs.
const RESERVE: usize = 64;

/// More is asked for by nobody here.
const ALL_MAX: u64 = 65_536;

#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptors {
    /// What the process may hold in all.
    pub(super) all: usize,
}

impl Descriptors {
    /// Takes as many as the system gives without being asked for more rights.
    pub(super) fn raise() -> Self {
        let before = getrlimit(Resource::Nofile);
        let wanted = before.maximum.unwrap_or(ALL_MAX).min(ALL_MAX);
        let current = before.current.unwrap_or(ALL_MAX);
        if current < wanted {
            let raised = Rlimit {
                current: Some(wanted),
                maximum: before.maximum,
            };
            if let Err(error) = setrlimit(Resource::Nofile, raised) {
                debug!(%error, "the bound of descriptors stays as it is");
            }
        }
        let now = getrlimit(Resource::Nofile).current.unwrap_or(ALL_MAX);
        Self {
            all: usize::try_from(now).unwrap_or(usize::MAX),
        }
    }

    /// How many of so many connections there can be, beside files and what else a process needs.
    pub(super) fn bound(self, connections: usize) -> usize {
        let room = (self.all - self.all / 8).saturating_sub(RESERVE).max(8);
        if room < connections {
            let all = self.all;
            warn!(
                "{connections} connections are too many for {all} descriptors: there will be at most {room}; see `ulimit -n`"
            );
        }
        connections.min(room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_files_and_trackers() {
        assert_eq!(Descriptors { all: 1_024 }.bound(500), 500);
        assert_eq!(Descriptors { all: 256 }.bound(500), 160);
        assert_eq!(Descriptors { all: 10 }.bound(500), 8);
        let raised = Descriptors::raise().all;
        assert_eq!(Descriptors::raise().all, raised);
    }
}
