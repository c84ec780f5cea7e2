//! Whom a command asks: every seeder that runs on the state folder, each over its own control socket. Usually that is one.

use std::future::Future;
use std::path::PathBuf;

use axum::http::{Method, StatusCode};
use edge::client::{Client, ClientError, Payload};
use edge::control;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Failure;
use super::choose::choose;
use super::human::hash;
use crate::api::bodies::{Stats, TorrentList};
use crate::engine::{Details, Summary};
use crate::state;

/// Torrents asked for at once.
const PAGE: usize = 1_000;

/// Flags of every command that talks to a running seeder.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// The state folder of the running seeder [default: ~/.local/state/kinswarm]
    #[arg(long, value_name = "DIR", env = "SEEDER__DATA")]
    pub data: Option<PathBuf>,

    /// Ask only the seeder with this process number, where several run on the folder
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,

    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// Which torrents a command is about.
#[derive(Clone, Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["torrents", "all"])))]
pub struct Which {
    /// Torrents, by name, by hash, or by the beginning of either
    #[arg(value_name = "TORRENT")]
    pub torrents: Vec<String>,

    /// Every torrent there is
    #[arg(long, conflicts_with = "torrents")]
    pub all: bool,
}

/// Runs a command's conversation with whoever answers.
pub fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    runtime.block_on(work)
}

/// All that answered, the one with the usual socket first.
#[derive(Clone, Debug)]
pub struct Seeders {
    all: Vec<Client>,
}

/// The process that is given new torrents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taker {
    /// Its place among those that answered.
    pub process: usize,
    pub pid: u32,
    /// It takes them up again after a restart.
    pub remembers: bool,
}

/// A torrent of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id {
    /// The place of the process among those that answered.
    pub process: usize,
    pub hash: String,
}

/// What a process says of one of its torrents.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The place of the process among those that answered.
    pub process: usize,
    pub torrent: Summary,
}

impl Held {
    pub fn id(&self) -> Id {
        Id {
            process: self.process,
            hash: hash(&self.torrent).to_owned(),
        }
    }
}

impl Seeders {
    /// Finds who runs on the folder.
    pub async fn find(common: &Common) -> Result<Self, Failure> {
        let folder = state::chosen(common.data.as_deref())?;
        let names = control::names(&folder)
            .map_err(|error| Failure::Failed(format!("{}: {error}; say --data DIR", folder.display())))?;
        let mut all = Vec::new();
        for name in names {
            match Client::connect_to(&folder, &name).await {
                Ok(client) => all.push(client),
                // Left behind by one that was killed.
                Err(ClientError::Absent) => (),
                Err(error) => {
                    return Err(Failure::Failed(format!(
                        "{}: {error}",
                        folder.join(name).display()
                    )));
                }
            }
        }
        if all.is_empty() {
            return Err(Failure::Failed(format!(
                "no seeder runs on {}; start one with `seeder run`, or say --data DIR",
                folder.display()
            )));
        }
        let seeders = Self { all };
        match common.pid {
            None => Ok(seeders),
            Some(pid) => seeders.only(pid).await,
        }
    }

    /// The one with this process number.
    async fn only(self, pid: u32) -> Result<Self, Failure> {
        let stats = self.stats().await?;
        let place = stats.iter().position(|stats| stats.pid == pid);
        let client = place.and_then(|place| self.all.into_iter().nth(place));
        let client = client.ok_or_else(|| {
            let pids: Vec<String> = stats.iter().map(|stats| stats.pid.to_string()).collect();
            Failure::Failed(format!(
                "--pid {pid}: no such seeder runs on this folder; there is {}",
                pids.join(", ")
            ))
        })?;
        Ok(Self { all: vec![client] })
    }

    async fn stats(&self) -> Result<Vec<Stats>, Failure> {
        let mut all = Vec::new();
        for process in 0..self.all.len() {
            all.push(self.fetch(process, "/stats").await?);
        }
        Ok(all)
    }

    /// Who is given new torrents: the one that remembers them over a restart, or the only one there is.
    pub async fn taker(&self) -> Result<Taker, Failure> {
        let stats = self.stats().await?;
        let taker = |process: usize, stats: &Stats| Taker {
            process,
            pid: stats.pid,
            remembers: stats.engine.remembers,
        };
        let keeper = stats.iter().position(|stats| stats.engine.remembers);
        match (keeper, stats.as_slice()) {
            (None, [only]) => Ok(taker(0, only)),
            (Some(keeper), all) => all
                .get(keeper)
                .map(|stats| taker(keeper, stats))
                .ok_or_else(|| failure(ClientError::Absent)),
            (None, all) => {
                let pids: Vec<String> = all.iter().map(|stats| format!("--pid {}", stats.pid)).collect();
                Err(Failure::Usage(format!(
                    "several seeders run on this folder, and none is `seeder run`; say which one: {}",
                    pids.join(" or ")
                )))
            }
        }
    }

    /// How many answered.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Every torrent of everyone.
    pub async fn list(&self) -> Result<Vec<Held>, Failure> {
        let mut held = Vec::new();
        for process in 0..self.all.len() {
            let torrents = match self.pages(process).await {
                Ok(torrents) => torrents,
                // It has just ended, and so have its torrents.
                Err(ClientError::Absent) if self.all.len() > 1 => continue,
                Err(error) => return Err(failure(error)),
            };
            held.extend(torrents.into_iter().map(|torrent| Held { process, torrent }));
        }
        Ok(held)
    }

    async fn pages(&self, process: usize) -> Result<Vec<Summary>, ClientError> {
        let mut torrents = Vec::new();
        loop {
            let path = format!("/torrents?offset={}&limit={PAGE}", torrents.len());
            let page: TorrentList = self.get(process, &path).await?;
            let is_last = page.torrents.len() < PAGE;
            torrents.extend(page.torrents);
            if is_last {
                return Ok(torrents);
            }
        }
    }

    /// The torrent that is called so, in every process that has it.
    pub async fn named(&self, asked: &str) -> Result<Vec<Held>, Failure> {
        pick(asked, &self.list().await?)
    }

    /// Those that a command is about.
    pub async fn chosen(&self, which: &Which) -> Result<Vec<Held>, Failure> {
        let held = self.list().await?;
        if which.all {
            return Ok(held);
        }
        let mut chosen: Vec<Held> = Vec::new();
        for asked in &which.torrents {
            for one in pick(asked, &held)? {
                let twice =
                    |other: &Held| other.process == one.process && other.torrent.key == one.torrent.key;
                if !chosen.iter().any(twice) {
                    chosen.push(one);
                }
            }
        }
        Ok(chosen)
    }

    /// All that is known of a torrent.
    pub async fn details(&self, id: &Id) -> Result<Details, Failure> {
        self.fetch(id.process, &path(id, "")).await
    }

    /// Tells a process to do something with a torrent: `pause`, `resume`, `announce`, `recheck`.
    pub async fn order(&self, id: &Id, order: &str, body: Payload) -> Result<(), Failure> {
        self.send(id.process, Method::POST, &path(id, order), body).await
    }

    /// Changes how a torrent is treated.
    pub async fn change(&self, id: &Id, change: &impl Serialize) -> Result<(), Failure> {
        let body = Payload::json(change).map_err(failure)?;
        self.send(id.process, Method::PATCH, &path(id, ""), body).await
    }

    /// Takes a torrent out.
    pub async fn remove(&self, id: &Id, delete_content: bool) -> Result<(), Failure> {
        let mut path = path(id, "");
        if delete_content {
            path.push_str("?delete=true");
        }
        self.send(id.process, Method::DELETE, &path, Payload::Nothing)
            .await
    }

    /// Asks one process for something.
    pub async fn get<T: DeserializeOwned>(&self, process: usize, path: &str) -> Result<T, ClientError> {
        self.ask(process, Method::GET, path, Payload::Nothing)
            .await?
            .read()
    }

    /// The same, in words that a person is told.
    pub async fn fetch<T: DeserializeOwned>(&self, process: usize, path: &str) -> Result<T, Failure> {
        self.get(process, path).await.map_err(failure)
    }

    /// Sends something to one process, and reads what comes back.
    pub async fn post<T: DeserializeOwned>(
        &self,
        process: usize,
        path: &str,
        body: Payload,
    ) -> Result<T, Failure> {
        let answer = self
            .ask(process, Method::POST, path, body)
            .await
            .map_err(failure)?;
        answer.read().map_err(failure)
    }

    /// Sends something whose answer says nothing but yes or no.
    pub async fn send(
        &self,
        process: usize,
        method: Method,
        path: &str,
        body: Payload,
    ) -> Result<(), Failure> {
        let answer = self.ask(process, method, path, body).await.map_err(failure)?;
        answer.bytes().map(drop).map_err(failure)
    }

    async fn ask(
        &self,
        process: usize,
        method: Method,
        path: &str,
        body: Payload,
    ) -> Result<edge::client::Answer, ClientError> {
        let client = self.all.get(process).ok_or(ClientError::Absent)?;
        client.send(method, path, body).await
    }
}

fn pick(asked: &str, held: &[Held]) -> Result<Vec<Held>, Failure> {
    let torrents: Vec<Summary> = held.iter().map(|one| one.torrent.clone()).collect();
    let places = choose(asked, &torrents).map_err(Failure::failed)?;
    Ok(places
        .into_iter()
        .filter_map(|place| held.get(place).cloned())
        .collect())
}

fn path(id: &Id, order: &str) -> String {
    let hash = &id.hash;
    if order.is_empty() {
        format!("/torrents/{hash}")
    } else {
        format!("/torrents/{hash}/{order}")
    }
}

/// A value that cannot be used was typed so; everything else failed.
pub fn failure(error: ClientError) -> Failure {
    match &error {
        ClientError::Refused {
            status: StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY,
            ..
        } => Failure::usage(error),
        ClientError::Absent => Failure::failed("the seeder has just stopped"),
        _ => Failure::failed(error),
    }
}
