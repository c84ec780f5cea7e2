//! Where settings came from, so that a running tracker can read them again: the same file, the same variables, the same flags.

use std::path::PathBuf;

use edge::settings::ConfigError;

use super::{Config, Loaded, Typed, load};

/// The sources of a tracker's settings.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The file, if there is one.
    pub path: Option<PathBuf>,
    /// What was typed.
    pub typed: Typed,
}

impl Origin {
    /// Reads all sources; what is wrong with any of them refuses the whole.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        load(self.path.as_deref(), std::env::vars_os(), self.typed.clone())
    }

    /// The settings as they are now in all sources, checked.
    pub fn config(&self) -> Result<Config, ConfigError> {
        Config::try_from(&self.load()?.file)
    }
}
