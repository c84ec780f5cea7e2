//! Merges the sources of settings: file, variables, flags.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use edge::settings::{ConfigError, Names};

use super::File;

/// The one variable that is no setting: it names the file.
pub(crate) const CONFIG_VARIABLE: &str = "TRACKER__CONFIG";

const NAMES: Names = Names {
    program: "TRACKER",
    others: &[CONFIG_VARIABLE],
    paths: &["data", "unix", "tls_certificate", "tls_key"],
};

/// The settings, and the variables with our prefix that nothing reads.
pub type Loaded = edge::settings::Loaded<File>;

/// What was typed instead of being written into a file. Empty means "not typed".
#[derive(Clone, Debug, Default)]
pub struct Typed {
    pub data: Option<PathBuf>,
    pub http: Vec<SocketAddr>,
    pub admin: Option<String>,
    pub public: bool,
    pub log: Option<String>,
}

/// Merges all sources of settings.
pub fn load(
    path: Option<&Path>,
    variables: impl Iterator<Item = (OsString, OsString)>,
    typed: Typed,
) -> Result<Loaded, ConfigError> {
    let mut loaded: Loaded = edge::settings::load(NAMES, path, variables)?;
    typed.put_into(&mut loaded.file);
    Ok(loaded)
}

impl Typed {
    fn put_into(self, file: &mut File) {
        if let Some(data) = self.data {
            file.tracker.data = data;
        }
        if !self.http.is_empty() {
            file.http.listen = self.http;
        }
        if let Some(admin) = self.admin {
            file.admin.listen = admin;
        }
        if let Some(log) = self.log {
            file.tracker.log = log;
        }
        file.tracker.public |= self.public;
    }
}
