//! Flags of the commands that may also be a web seed (BEP 19), and what they open.

use std::net::SocketAddr;

use super::{Failure, tell};
use crate::engine::Engine;
use crate::web::{WebServer, WebSettings};

/// Whether web clients get files too.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct WebSeedFlags {
    /// Give files to web clients too, at this address; port 0 picks a free one
    #[arg(long, value_name = "ADDR")]
    pub web_seed: Option<SocketAddr>,

    /// With `--web-seed`: files of private torrents too, to everyone who knows their hashes
    #[arg(long, requires = "web_seed")]
    pub web_seed_private: bool,
}

impl WebSeedFlags {
    /// Opens the port, if there is to be one.
    pub fn open(&self, engine: &Engine) -> Result<Option<WebServer>, Failure> {
        let settings = self.web_seed.map(|listen| WebSettings {
            listen,
            private: self.web_seed_private,
        });
        open(engine, settings)
    }
}

/// Opens the port of these settings.
pub fn open(engine: &Engine, settings: Option<WebSettings>) -> Result<Option<WebServer>, Failure> {
    let Some(settings) = settings else { return Ok(None) };
    let opened = WebServer::open(engine, settings);
    let server = opened.map_err(|error| {
        Failure::Failed(format!(
            "the web seed cannot listen on {}: {error}; name a free address, or port 0 for any",
            settings.listen
        ))
    })?;
    Ok(Some(server))
}

/// Says where it is.
pub fn announce(server: Option<&WebServer>) {
    if let Some(server) = server {
        tell(format_args!(
            "web clients get files at http://{}/webseed/INFO-HASH/PATH",
            server.address()
        ));
    }
}

/// Closes the port.
pub async fn close(server: Option<WebServer>) {
    if let Some(server) = server {
        server.close().await;
    }
}
