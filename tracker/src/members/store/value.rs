//! From columns to values and back, checked: a number that does not fit is a damaged database, not another number.

use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Row as _};

use super::Scope;
use crate::members::ids::{Date, MemberId, TorrentId};
use crate::members::rules::Tariff;

/// Sums stop here, at four exabytes, so that adding two of them never leaves 63 bits.
pub(super) const MOST: u64 = (1 << 62) - 1;

/// A sum or a size for the database.
pub(super) fn bounded(value: u64) -> i64 {
    value.min(MOST).cast_signed()
}

/// A column that must fit into `N`.
pub(super) fn number<N: TryFrom<i64>>(row: &SqliteRow, column: &str) -> sqlx::Result<N> {
    let value: i64 = row.try_get(column)?;
    N::try_from(value).map_err(|_| odd(column, format!("{value} is out of range")))
}

/// The same where the column may be empty.
pub(super) fn maybe_number<N: TryFrom<i64>>(row: &SqliteRow, column: &str) -> sqlx::Result<Option<N>> {
    let value: Option<i64> = row.try_get(column)?;
    let fits =
        value.map(|value| N::try_from(value).map_err(|_| odd(column, format!("{value} is out of range"))));
    fits.transpose()
}

pub(super) fn date(row: &SqliteRow, column: &str) -> sqlx::Result<Date> {
    number(row, column).map(Date)
}

pub(super) fn maybe_date(row: &SqliteRow, column: &str) -> sqlx::Result<Option<Date>> {
    Ok(maybe_number(row, column)?.map(Date))
}

pub(super) fn maybe_member(row: &SqliteRow, column: &str) -> sqlx::Result<Option<MemberId>> {
    Ok(maybe_number(row, column)?.map(MemberId))
}

pub(super) fn maybe_torrent(row: &SqliteRow, column: &str) -> sqlx::Result<Option<TorrentId>> {
    Ok(maybe_number(row, column)?.map(TorrentId))
}

/// Exactly so many bytes.
pub(super) fn array<const N: usize, C>(row: &SqliteRow, column: C) -> sqlx::Result<[u8; N]>
where
    C: ColumnIndex<SqliteRow> + std::fmt::Debug + Copy,
{
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map_err(|_| {
        odd(
            &format!("{column:?}"),
            format!("{} bytes instead of {N}", bytes.len()),
        )
    })
}

pub(super) fn maybe_array<const N: usize>(row: &SqliteRow, column: &str) -> sqlx::Result<Option<[u8; N]>> {
    let bytes: Option<&[u8]> = row.try_get(column)?;
    let fits = bytes.map(|bytes| {
        bytes
            .try_into()
            .map_err(|_| odd(column, format!("{} bytes instead of {N}", bytes.len())))
    });
    fits.transpose()
}

/// A hash, if there is one.
pub(super) fn maybe_hash<const N: usize>(bytes: Option<&[u8]>) -> sqlx::Result<Option<[u8; N]>> {
    let fits = bytes.map(|bytes| {
        bytes
            .try_into()
            .map_err(|_| odd("info_hash", format!("{} bytes instead of {N}", bytes.len())))
    });
    fits.transpose()
}

/// A date and a text that are there together or not at all.
pub(super) fn dated(row: &SqliteRow, date: &str, text: &str) -> sqlx::Result<Option<(Date, String)>> {
    let words: Option<String> = row.try_get(text)?;
    Ok(maybe_date(row, date)?.map(|date| (date, words.unwrap_or_default())))
}

/// A tariff with its end, where both factors are there.
pub(super) fn tariff(row: &SqliteRow) -> sqlx::Result<Option<super::TimedTariff>> {
    let upload = maybe_number(row, "upload_percent")?;
    let download = maybe_number(row, "download_percent")?;
    let until = maybe_date(row, "tariff_until")?;
    Ok(upload.zip(download).map(|(upload_percent, download_percent)| {
        let tariff = Tariff {
            upload_percent,
            download_percent,
        };
        (tariff, until)
    }))
}

/// One word of a set of known ones.
pub(super) fn word<T: Word>(row: &SqliteRow, column: &str) -> sqlx::Result<T> {
    let text: &str = row.try_get(column)?;
    T::read(text).ok_or_else(|| odd(column, format!("{text:?} is not known")))
}

/// Several words with spaces between.
pub(super) fn words<T: Word>(row: &SqliteRow, column: &str) -> sqlx::Result<Vec<T>> {
    let text: &str = row.try_get(column)?;
    let words = text.split_whitespace().map(T::read).collect::<Option<Vec<T>>>();
    words.ok_or_else(|| odd(column, format!("{text:?} is not known")))
}

fn odd(column: &str, what: String) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: what.into(),
    }
}

/// A value that the database holds as a word.
pub(super) trait Word: Copy + PartialEq + 'static {
    /// Every value with its word.
    const WORDS: &'static [(Self, &'static str)];

    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(value, _)| *value == self);
        found.map_or("", |(_, word)| word)
    }

    fn read(text: &str) -> Option<Self> {
        let found = Self::WORDS.iter().find(|(_, word)| *word == text);
        found.map(|(value, _)| *value)
    }
}

impl Word for super::Role {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::Owner, "owner"), (Self::Member, "member")];
}

impl Word for super::Kind {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::Member, "member"), (Self::Guest, "guest")];
}

impl Word for Scope {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Read, "read"),
        (Self::Torrents, "torrents"),
        (Self::Members, "members"),
        (Self::Admin, "admin"),
    ];
}
