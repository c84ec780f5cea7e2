//! The register of torrents, as people change it.

/// What is to be done with a .torrent on its way in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddTorrent {
    /// Sets or removes `private`; changes the info-hash where it was otherwise.
    pub private: Option<bool>,
    /// Sets `source`; an empty one removes it. Changes the info-hash where it was otherwise.
    pub source: Option<String>,
    pub description: String,
}
