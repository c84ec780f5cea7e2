//! What a row holds, and how it is written and read.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row as _, Sqlite};

use crate::engine::{Goals, Options, TorrentLimits};
use crate::torrent::goals::Copies;
use crate::torrent::{Priority, Wishes};

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

pub(super) const ALL: &str = "SELECT id, source, is_magnet, root, writes, added, paused, reached, trackers, options, done,
    uploaded, downloaded, seeding_seconds, copies FROM torrents LEFT JOIN counters ON torrent = id ORDER BY id";

const PUT: &str = "INSERT INTO torrents (id, source, is_magnet, root, writes, added, paused, reached, trackers, options, done)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (id) DO UPDATE SET source = excluded.source, is_magnet = excluded.is_magnet, root = excluded.root,
    paused = excluded.paused, reached = excluded.reached, trackers = excluded.trackers, options = excluded.options,
    done = excluded.done";

/// Without a source, a row that is there is changed; what it was made from stays.
const CHANGE: &str = "UPDATE torrents SET root = $2, paused = $3, reached = $4, trackers = $5, options = $6, done = $7 WHERE id = $1";

const PUT_COUNTERS: &str = "INSERT INTO counters (torrent, uploaded, downloaded, seeding_seconds, copies)
    SELECT id, $2, $3, $4, $5 FROM torrents WHERE id = $1
    ON CONFLICT (torrent) DO UPDATE SET uploaded = excluded.uploaded, downloaded = excluded.downloaded,
    seeding_seconds = excluded.seeding_seconds, copies = excluded.copies";

/// One torrent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TorrentRow {
    pub(crate) id: u64,
    /// A .torrent file, or a magnet link. `None` in a change that leaves it as it is.
    pub(crate) source: Option<(bool, Vec<u8>)>,
    pub(crate) root: PathBuf,
    pub(crate) writes: bool,
    pub(crate) added: i64,
    pub(crate) paused: bool,
    pub(crate) reached: Option<String>,
    pub(crate) trackers: Vec<Vec<String>>,
    pub(crate) options: OptionRow,
    /// All that is wanted was there once.
    pub(crate) done: bool,
    pub(crate) counters: CounterRow,
}

/// What is counted of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CounterRow {
    pub(crate) uploaded: u64,
    pub(crate) downloaded: u64,
    pub(crate) seeding_seconds: u64,
    pub(crate) copies: Copies,
}

/// How it is treated, as JSON. Keys that an older program does not know do it no harm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct OptionRow {
    /// A digit a file: 0 is not wanted, 3 is wanted most.
    files: String,
    sequential: bool,
    super_seed: bool,
    upload: Option<u64>,
    download: Option<u64>,
    connections: Option<usize>,
    upload_slots: Option<usize>,
    goals: Goals,
    web_seeds: Vec<String>,
}

const PRIORITIES: [Priority; 4] = [Priority::Skip, Priority::Low, Priority::Normal, Priority::High];

impl From<&Options> for OptionRow {
    fn from(options: &Options) -> Self {
        let digit = |priority: &Priority| match priority {
            Priority::Skip => '0',
            Priority::Low => '1',
            Priority::Normal => '2',
            Priority::High => '3',
        };
        Self {
            files: options.wishes.files.iter().map(digit).collect(),
            sequential: options.wishes.sequential,
            super_seed: options.super_seed,
            upload: options.limits.upload,
            download: options.limits.download,
            connections: options.limits.connections,
            upload_slots: options.limits.upload_slots,
            goals: options.goals,
            web_seeds: options.web_seeds.clone(),
        }
    }
}

impl From<OptionRow> for Options {
    fn from(row: OptionRow) -> Self {
        let priority = |digit: char| {
            let number = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
            let known = number.and_then(|number| PRIORITIES.get(number));
            known.copied().unwrap_or_default()
        };
        Self {
            wishes: Wishes {
                files: row.files.chars().map(priority).collect(),
                sequential: row.sequential,
            },
            limits: TorrentLimits {
                upload: row.upload,
                download: row.download,
                connections: row.connections,
                upload_slots: row.upload_slots,
            },
            goals: row.goals,
            web_seeds: row.web_seeds,
            super_seed: row.super_seed,
            ..Self::default()
        }
    }
}

impl TorrentRow {
    pub(super) fn read(row: &SqliteRow) -> sqlx::Result<Self> {
        let count = |column: usize| -> sqlx::Result<u64> {
            let count = row.try_get::<Option<i64>, _>(column)?;
            Ok(count.unwrap_or_default().unsigned_abs())
        };
        let copies: Option<String> = row.try_get(14)?;
        Ok(Self {
            id: row.try_get::<i64, _>(0)?.unsigned_abs(),
            source: Some((row.try_get(2)?, row.try_get(1)?)),
            root: PathBuf::from(OsString::from_vec(row.try_get(3)?)),
            writes: row.try_get(4)?,
            added: row.try_get(5)?,
            paused: row.try_get(6)?,
            reached: row.try_get(7)?,
            trackers: json(row.try_get(8)?)?,
            options: json(row.try_get(9)?)?,
            done: row.try_get(10)?,
            counters: CounterRow {
                uploaded: count(11)?,
                downloaded: count(12)?,
                seeding_seconds: count(13)?,
                copies: copies.map_or(Ok(Copies::default()), |copies| json(&copies))?,
            },
        })
    }

    pub(super) fn put(&self, id: u64) -> Statement<'_> {
        let (root, trackers, options) = (
            self.root.as_os_str().as_bytes(),
            text(&self.trackers),
            text(&self.options),
        );
        match &self.source {
            Some((is_magnet, source)) => sqlx::query(PUT)
                .bind(signed(id))
                .bind(source.as_slice())
                .bind(*is_magnet)
                .bind(root)
                .bind(self.writes)
                .bind(self.added)
                .bind(self.paused)
                .bind(self.reached.as_deref())
                .bind(trackers)
                .bind(options)
                .bind(self.done),
            None => sqlx::query(CHANGE)
                .bind(signed(id))
                .bind(root)
                .bind(self.paused)
                .bind(self.reached.as_deref())
                .bind(trackers)
                .bind(options)
                .bind(self.done),
        }
    }
}

impl CounterRow {
    pub(super) fn put(&self, id: u64) -> Statement<'_> {
        sqlx::query(PUT_COUNTERS)
            .bind(signed(id))
            .bind(signed(self.uploaded))
            .bind(signed(self.downloaded))
            .bind(signed(self.seeding_seconds))
            .bind(text(&self.copies))
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn text<T: Serialize>(value: &T) -> String {
    // Lists, numbers and strings always have a text.
    serde_json::to_string(value).unwrap_or_default()
}

fn json<T: for<'de> Deserialize<'de>>(text: &str) -> sqlx::Result<T> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
