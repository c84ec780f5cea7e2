//! The program's log, on standard error: in colour on a terminal, plainly elsewhere. Its filter may change while it runs.

use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// What can change the filter, once there is a log.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Begins to log. A second call changes the filter.
pub fn start(filter: &str) -> Result<(), ParseError> {
    let (layer, handle) = reload::Layer::new(EnvFilter::try_new(filter)?);
    if FILTER.set(handle).is_err() {
        return change(filter);
    }
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    // Fails only where a program that embeds us has a log of its own, which is as good.
    let _ = tracing_subscriber::registry().with(layer).with(lines).try_init();
    Ok(())
}

/// Logs by another filter from now on. Without a log of ours there is nothing to change.
pub fn change(filter: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(filter)?;
    if let Some(handle) = FILTER.get() {
        // Fails only where the log is gone.
        let _ = handle.reload(filter);
    }
    Ok(())
}
