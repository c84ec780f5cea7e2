//! Torrents, their files, and tariffs.

use shared::id::{InfoHash, InfoHashV2};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::connection::Statement;
use super::value::{bounded, date, dated, maybe_array, maybe_hash, maybe_member, number, tariff};
use super::{Answer, NOTHING, NewTorrent, PlainTorrent, Store, TimedTariff, TorrentRow, accounts};
use crate::members::ids::TorrentId;

const INSERT: &str = "INSERT INTO torrents (info_hash_v1, info_hash_v2, name, size, files, private, source, added, added_by, description,
    upload_percent, download_percent, tariff_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING *";

const UPDATE: &str = "UPDATE torrents SET upload_percent = $1, download_percent = $2, tariff_until = $3, info_hash_v1 = $4, info_hash_v2 = $5,
    name = $6, size = $7, files = $8, private = $9, source = $10, added_by = $11, description = $12, removed_since = $13,
    removed_reason = $14 WHERE id = $15";

const PLAIN: &str = "SELECT id, info_hash_v1, info_hash_v2 FROM torrents WHERE removed_since IS NULL AND upload_percent IS NULL";

const PECULIAR: &str = "SELECT * FROM torrents WHERE removed_since IS NOT NULL OR upload_percent IS NOT NULL";

const COUNT: &str = r"SELECT COUNT(*) AS total FROM torrents
    WHERE name LIKE $1 ESCAPE '\' OR hex(info_hash_v1) LIKE $2 ESCAPE '\' OR hex(info_hash_v2) LIKE $2 ESCAPE '\'";

const FIND: &str = r"SELECT * FROM torrents
    WHERE name LIKE $1 ESCAPE '\' OR hex(info_hash_v1) LIKE $2 ESCAPE '\' OR hex(info_hash_v2) LIKE $2 ESCAPE '\'
    ORDER BY id DESC LIMIT $3 OFFSET $4";

const TARIFF: &str = "UPDATE tracker SET upload_percent = $1, download_percent = $2, tariff_until = $3";

const SET_FILE: &str = "INSERT INTO torrent_files (torrent, bytes) VALUES ($1, $2)
    ON CONFLICT (torrent) DO UPDATE SET bytes = excluded.bytes";

impl Store {
    /// The numbers and hashes of torrents that are served as all are; a start reads them by the hundred thousand.
    pub async fn plain_torrents(&self) -> Answer<Vec<PlainTorrent>> {
        let find = sqlx::query(PLAIN);
        self.read(find, |row| {
            Ok(PlainTorrent {
                id: TorrentId(row.try_get(0)?),
                info_hash_v1: maybe_hash(row.try_get(1)?)?.map(InfoHash),
                info_hash_v2: maybe_hash(row.try_get(2)?)?.map(InfoHashV2),
            })
        })
        .await
    }

    /// The others: removed ones, and those with a tariff of their own.
    pub async fn peculiar_torrents(&self) -> Answer<Vec<TorrentRow>> {
        self.read(sqlx::query(PECULIAR), torrent).await
    }

    /// One torrent, removed or not.
    pub async fn torrent(&self, id: TorrentId) -> Answer<Option<TorrentRow>> {
        let find = sqlx::query("SELECT * FROM torrents WHERE id = $1").bind(id.0);
        self.read_one(find, torrent).await
    }

    /// Some torrents of which `search` is part of the name or begins a hash, newest first, and how many there are in all.
    pub async fn find_torrents(&self, search: &str, skip: u64, limit: u32) -> Answer<(Vec<TorrentRow>, u64)> {
        let escaped = search
            .replace('\\', "\\\\")
            .replace('%', "\\%")
            .replace('_', "\\_");
        let (inside, beginning) = (format!("%{escaped}%"), format!("{escaped}%"));
        let count = sqlx::query(COUNT).bind(&inside).bind(&beginning);
        let count = self.read_one(count, |row| row.try_get::<i64, _>("total")).await?;
        let find = sqlx::query(FIND)
            .bind(&inside)
            .bind(&beginning)
            .bind(limit)
            .bind(bounded(skip));
        let rows = self.read(find, torrent).await?;
        Ok((
            rows,
            count.and_then(|count| count.try_into().ok()).unwrap_or_default(),
        ))
    }

    /// Registers a torrent; `Exists` where one of its hashes is registered, be it of a removed torrent.
    pub async fn insert_torrent(&self, new: &NewTorrent) -> Answer<TorrentRow> {
        let insert = sqlx::query(INSERT)
            .bind(new.info_hash_v1.as_ref().map(|hash| hash.0.as_slice()))
            .bind(new.info_hash_v2.as_ref().map(|hash| hash.0.as_slice()))
            .bind(&new.name)
            .bind(bounded(new.size))
            .bind(new.files)
            .bind(new.private)
            .bind(&new.source)
            .bind(new.added.0)
            .bind(new.added_by.map(|id| id.0))
            .bind(&new.description);
        let mut writing = self.begin().await?;
        let row = writing
            .read_exactly(bind_tariff(insert, new.tariff), torrent)
            .await?;
        if !new.file.is_empty() {
            let set = sqlx::query(SET_FILE).bind(row.id.0).bind(new.file.as_slice());
            writing.run(set).await?;
        }
        writing.commit().await?;
        Ok(row)
    }

    /// Writes everything but the date of addition; false where there is no such torrent.
    pub async fn update_torrent(&self, row: &TorrentRow) -> Answer<bool> {
        let (since, reason) = row
            .removed
            .as_ref()
            .map(|(since, reason)| (since.0, reason))
            .unzip();
        let update = bind_tariff(sqlx::query(UPDATE), row.tariff)
            .bind(row.info_hash_v1.as_ref().map(|hash| hash.0.as_slice()))
            .bind(row.info_hash_v2.as_ref().map(|hash| hash.0.as_slice()))
            .bind(&row.name)
            .bind(bounded(row.size))
            .bind(row.files)
            .bind(row.private)
            .bind(&row.source)
            .bind(row.added_by.map(|id| id.0))
            .bind(&row.description)
            .bind(since)
            .bind(reason)
            .bind(row.id.0);
        Ok(self.write_one(update).await? > 0)
    }

    /// The .torrent file as it was registered.
    pub async fn torrent_file(&self, id: TorrentId) -> Answer<Option<Vec<u8>>> {
        let find = sqlx::query("SELECT bytes FROM torrent_files WHERE torrent = $1").bind(id.0);
        self.read_one(find, |row| row.try_get("bytes")).await
    }

    /// Sets or replaces the .torrent file of a registered torrent; `Gone` where there is none.
    pub async fn set_torrent_file(&self, id: TorrentId, file: &[u8]) -> Answer<()> {
        self.write_one(sqlx::query(SET_FILE).bind(id.0).bind(file))
            .await?;
        Ok(())
    }

    /// Deletes a torrent for good; its sums stay, under [`NOTHING`]. False where there is no such torrent.
    pub async fn delete_torrent(&self, id: TorrentId) -> Answer<bool> {
        let mut writing = self.begin().await?;
        let delete = sqlx::query("DELETE FROM torrents WHERE id = $1").bind(id.0);
        if writing.run(delete).await? == 0 {
            writing.undo().await?;
            return Ok(false);
        }
        accounts::move_torrent(&mut writing, id, NOTHING).await?;
        let statements = [
            "DELETE FROM sessions WHERE torrent = $1",
            "INSERT INTO gone_torrents (id) VALUES ($1)",
        ];
        for statement in statements {
            writing.run(sqlx::query(statement).bind(id.0)).await?;
        }
        writing.commit().await?;
        Ok(true)
    }

    /// The tariff for everything that has none of its own, where one was set.
    pub async fn tariff(&self) -> Answer<Option<TimedTariff>> {
        let row = self
            .read_one(sqlx::query("SELECT * FROM tracker"), tariff)
            .await?;
        Ok(row.flatten())
    }

    /// Sets the tariff for everything, or takes it back.
    pub async fn set_tariff(&self, tariff: Option<TimedTariff>) -> Answer<()> {
        self.write_one(bind_tariff(sqlx::query(TARIFF), tariff)).await?;
        Ok(())
    }
}

fn bind_tariff(statement: Statement<'_>, timed: Option<TimedTariff>) -> Statement<'_> {
    let (tariff, until) = timed.unzip();
    statement
        .bind(tariff.map(|tariff| tariff.upload_percent))
        .bind(tariff.map(|tariff| tariff.download_percent))
        .bind(until.flatten().map(|date| date.0))
}

fn torrent(row: &SqliteRow) -> sqlx::Result<TorrentRow> {
    Ok(TorrentRow {
        id: TorrentId(number(row, "id")?),
        info_hash_v1: maybe_array(row, "info_hash_v1")?.map(InfoHash),
        info_hash_v2: maybe_array(row, "info_hash_v2")?.map(InfoHashV2),
        name: row.try_get("name")?,
        size: number(row, "size")?,
        files: number(row, "files")?,
        private: row.try_get("private")?,
        source: row.try_get("source")?,
        added: date(row, "added")?,
        added_by: maybe_member(row, "added_by")?,
        removed: dated(row, "removed_since", "removed_reason")?,
        tariff: tariff(row)?,
        description: row.try_get("description")?,
    })
}
