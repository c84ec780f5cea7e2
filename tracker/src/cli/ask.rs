//! Whom a command asks: the tracker that runs on the data folder, over its socket; where none runs, the same API in this
//! process, over the folder itself. Either way with the owner's rights.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;
use url::form_urlencoded;

use super::{Common, Failure};
use crate::api::bodies::PolicyCard;
use crate::config::{Config, Typed};
use crate::folder::{self, Folder, FolderError};
use crate::offline::Offline;
use edge::client::{Answer, Client, ClientError, Lines, Payload};
use edge::command::tell;
use edge::output::card;

/// A folder may be taken for a moment: by another command, or by a tracker that begins or ends.
const TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Entries of a list asked for at once.
const PAGE: usize = 1_000;

/// What may stand in a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Runs a command's conversation with whoever answers for the folder.
pub(super) fn run(
    common: &Common,
    state: State,
    work: impl AsyncFnOnce(&Api) -> Result<(), Failure>,
) -> Result<(), Failure> {
    block_on(async {
        let api = Api::open(common, state).await?;
        let done = work(&api).await;
        // Where we answered ourselves, all is on disk and the folder is free after this.
        if let Some(offline) = api.offline {
            offline.close().await;
        }
        done
    })
}

/// Runs a command's conversation with the tracker that runs on the folder, and with nobody else.
pub(super) fn run_with_tracker(
    common: &Common,
    work: impl AsyncFnOnce(&Api) -> Result<(), Failure>,
) -> Result<(), Failure> {
    block_on(async { work(&Api::running(common).await?).await })
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::failed)?.block_on(work)
}

/// A name as a part of a path.
pub(super) fn encode(name: &str) -> String {
    // A dot alone would be a step in the path.
    match name {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        name => utf8_percent_encode(name, SEGMENT).to_string(),
    }
}

/// Whether a command makes sense on a folder that no tracker ever used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    There,
    MadeIfMissing,
}

/// Somebody to ask.
pub(super) struct Api {
    client: Client,
    /// Holds the folder for as long as we answer ourselves.
    offline: Option<Offline>,
}

impl Api {
    /// Whoever answers for the folder.
    async fn open(common: &Common, state: State) -> Result<Self, Failure> {
        let config = settings(common)?;
        let folder = data(&config)?;
        if state == State::There && !folder::database(folder).exists() {
            return Err(Failure::Failed(format!(
                "{} holds no tracker's state yet; add a member or start `tracker serve` first, or say --data DIR",
                folder.display()
            )));
        }
        for _ in 0..TRIES {
            if let Some(client) = connect(folder).await? {
                return Ok(Self {
                    client,
                    offline: None,
                });
            }
            match Folder::take(folder) {
                Ok(taken) => return Self::offline(&config, taken).await,
                Err(FolderError::Folder(edge::folder::FolderError::Taken { .. })) => {
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
                Err(error) => return Err(Failure::failed(error)),
            }
        }
        let taken = Folder::take(folder).map_err(Failure::failed)?;
        Self::offline(&config, taken).await
    }

    async fn offline(config: &Config, folder: Folder) -> Result<Self, Failure> {
        let offline = Offline::open(config, folder).await.map_err(Failure::failed)?;
        Ok(Self {
            client: Client::in_process(offline.router()),
            offline: Some(offline),
        })
    }

    /// The tracker that runs on the folder, and nobody else.
    async fn running(common: &Common) -> Result<Self, Failure> {
        let config = settings(common)?;
        let folder = data(&config)?;
        let client = connect(folder).await?.ok_or_else(|| {
            Failure::Failed(format!(
                "no tracker runs on {}; start it with `tracker serve`, or say --data DIR",
                folder.display()
            ))
        })?;
        Ok(Self {
            client,
            offline: None,
        })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::GET, path).await
    }

    pub(super) async fn send(&self, method: Method, path: &str) -> Result<Value, Failure> {
        value(&self.ask(method, path, Payload::Nothing).await?)
    }

    pub(super) async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, Failure> {
        self.tell(Method::POST, path, body).await
    }

    pub(super) async fn put(&self, path: &str, body: &impl Serialize) -> Result<Value, Failure> {
        self.tell(Method::PUT, path, body).await
    }

    async fn tell(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Value, Failure> {
        let payload = Payload::json(body).map_err(Failure::failed)?;
        value(&self.ask(method, path, payload).await?)
    }

    /// Sends a .torrent file.
    pub(super) async fn register(&self, path: &str, torrent: Bytes) -> Result<Value, Failure> {
        value(&self.ask(Method::POST, path, Payload::Torrent(torrent)).await?)
    }

    /// Asks for a file.
    pub(super) async fn bytes(&self, path: &str) -> Result<Bytes, Failure> {
        let answer = self.ask(Method::GET, path, Payload::Nothing).await?;
        answer.bytes().map_err(failure)
    }

    /// All entries of a list that comes in pages, under the name `key`.
    pub(super) async fn all(&self, path: &str, key: &str, search: Option<&str>) -> Result<Value, Failure> {
        let mut entries: Vec<Value> = Vec::new();
        loop {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("offset", &entries.len().to_string());
            query.append_pair("limit", &PAGE.to_string());
            if let Some(search) = search {
                query.append_pair("search", search);
            }
            let mut page = self.get(&format!("{path}?{}", query.finish())).await?;
            let part = page.get_mut(key).and_then(Value::as_array_mut);
            let part = part.map(std::mem::take).unwrap_or_default();
            let is_last = part.len() < PAGE;
            entries.extend(part);
            if is_last {
                return Ok(Value::Array(entries));
            }
        }
    }

    /// Asks for a stream.
    pub(super) async fn follow(&self, path: &str) -> Result<Lines, Failure> {
        self.client.follow(path).await.map_err(failure)
    }

    /// Says so where announce URLs are only the tracker's guess: whoever is given one must know.
    pub(super) async fn warn_of_guess(&self) -> Result<(), Failure> {
        let policy: PolicyCard = card(self.get("/policy").await?)?;
        if policy.announce_url_guessed {
            tell(format_args!(
                "warning: tracker.public_url is not set: {} is a guess, and others may need another address",
                policy.base()
            ));
        }
        Ok(())
    }

    async fn ask(&self, method: Method, path: &str, payload: Payload) -> Result<Answer, Failure> {
        self.client.send(method, path, payload).await.map_err(failure)
    }
}

fn settings(common: &Common) -> Result<Config, Failure> {
    let (loaded, config) = common.load(Typed::default())?;
    for name in &loaded.unread {
        tell(format_args!(
            "warning: nothing reads the environment variable {name}"
        ));
    }
    edge::log::start(common.log.as_deref().unwrap_or("warn")).map_err(Failure::usage)?;
    Ok(config)
}

fn data(config: &Config) -> Result<&Path, Failure> {
    let folder = config.data.as_deref();
    folder.ok_or_else(|| Failure::usage("no data folder is set; say --data DIR"))
}

async fn connect(folder: &Path) -> Result<Option<Client>, Failure> {
    match Client::connect(folder).await {
        Ok(client) => Ok(Some(client)),
        Err(ClientError::Absent) => Ok(None),
        Err(error) => Err(Failure::failed(error)),
    }
}

/// What the answer says; nothing where it says nothing.
fn value(answer: &Answer) -> Result<Value, Failure> {
    if answer.status.is_success() && answer.body.is_empty() {
        return Ok(Value::Null);
    }
    answer.read().map_err(failure)
}

/// A value that cannot be used was typed so; everything else failed.
fn failure(error: ClientError) -> Failure {
    match &error {
        ClientError::Refused {
            status: StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY,
            ..
        } => Failure::usage(error),
        ClientError::Refused { detail, .. } => Failure::Failed(with_list(detail)),
        _ => Failure::failed(error),
    }
}

/// What is not there has a list of what is.
fn with_list(why: &str) -> String {
    let lists = [
        ("member", "member"),
        ("torrent", "torrent"),
        ("invitation", "invite"),
        ("token", "token"),
    ];
    let missing = why.strip_prefix("there is no ").unwrap_or_default();
    let list = lists.iter().find(|(what, _)| missing.starts_with(what));
    list.map_or_else(
        || why.to_owned(),
        |(_, command)| format!("{why}; `tracker {command} list` shows all there are"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_path_whatever_is_in_it() {
        for (name, part) in [
            ("anna", "anna"),
            ("a/b?c#d", "a%2Fb%3Fc%23d"),
            ("..", "%2E%2E"),
            ("Jörg", "J%C3%B6rg"),
        ] {
            assert_eq!(encode(name), part);
        }
    }
}
