//! Pieces that are there no more, on either side (BEP 54).

use shared::geometry::PieceIndex;
use shared::moment::Moment;

use super::machine::Torrent;

impl Torrent {
    /// Tells the peers that these pieces can be had here no longer. Called when they are out of `have` already.
    pub(super) fn tell_lost(&mut self, _now: Moment, _pieces: &[PieceIndex]) {}
}
