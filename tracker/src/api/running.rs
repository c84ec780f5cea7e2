//! What only a running tracker has: books, swarms, announces to watch, settings to reload.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::bodies::SwarmsCard;
use crate::http::trace::Tracer;
use crate::members::books::{Books, FlushError};
use crate::swarm::private::PrivateSwarms;
use edge::problem::Problem;

/// Whoever asks for accounts waits this long for the last of them.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// Settings are read and applied within this time.
const RELOAD_TIME: Duration = Duration::from_secs(30);

/// The parts of a running tracker that the API asks.
#[derive(Debug)]
pub struct Running {
    pub books: Arc<Books>,
    pub swarms: Arc<PrivateSwarms>,
    pub tracer: Arc<Tracer>,
    /// To whoever knows where the settings come from.
    pub reload: mpsc::Sender<ReloadWanted>,
}

/// Somebody wants the settings read again.
#[derive(Debug)]
pub struct ReloadWanted {
    /// What has changed, or why nothing has.
    pub answer: oneshot::Sender<Result<Vec<String>, String>>,
}

impl Running {
    /// Has all accounts written.
    pub(crate) async fn settle(&self) -> Result<(), FlushError> {
        self.books.flush_now(FLUSH_TIME).await
    }

    /// Who is there.
    pub(crate) fn swarms(&self) -> SwarmsCard {
        let totals = self.swarms.totals();
        SwarmsCard {
            torrents: totals.swarms,
            seeders: totals.seeders,
            leechers: totals.downloaders + totals.paused,
        }
    }

    /// Has the settings read again.
    pub(crate) async fn reload(&self) -> Result<Vec<String>, Problem> {
        let (answer, answered) = oneshot::channel();
        let busy = || Problem::busy("the settings are being read already: try again");
        self.reload
            .try_send(ReloadWanted { answer })
            .map_err(|_| busy())?;
        match tokio::time::timeout(RELOAD_TIME, answered).await {
            Ok(Ok(result)) => {
                result.map_err(|why| Problem::unusable(format!("the settings stay as they were: {why}")))
            }
            Ok(Err(_)) => Err(Problem::busy("the tracker is stopping: nothing was reloaded")),
            Err(_) => {
                warn!("settings were not read in time");
                Err(busy())
            }
        }
    }
}
