//! The files of a v1 torrent: the `files` list, or the one file that the info dictionary itself describes (BEP 3, BEP 47).

use crate::bencode::Value;

use super::MetainfoError;
use super::info::{File, FileKind, Listing};
use super::names::{self, Budget};

/// The longest file: more blocks than 2^30 nobody can number.
pub(super) const FILE_LENGTH_MAX: u64 = ((1 << 30) - 1) * 16_384 - 1;

/// Folders inside each other; more than anybody makes.
const DEPTH_MAX: usize = 100;

/// How `BitComet` names its padding, without an attribute.
const BITCOMET_PADDING: &str = "_____padding_file_";

/// What the letters of `attr` say (BEP 47); unknown ones mean nothing.
#[derive(Clone, Copy)]
pub(super) struct Attributes {
    pub(super) padding: bool,
    pub(super) symlink: bool,
    pub(super) executable: bool,
}

impl Attributes {
    pub(super) fn of(file: &Value<'_>) -> Self {
        let letters = file.get("attr").and_then(|attr| attr.bytes()).unwrap_or_default();
        let has = |letter| letters.contains(&letter);
        Self {
            padding: has(b'p'),
            symlink: has(b'l'),
            executable: has(b'x'),
        }
    }
}

/// Reads the files of a v1 torrent, or of the v1 half of a hybrid. `None` if it names none.
pub(super) fn read(info: &Value<'_>) -> Result<Option<Listing>, MetainfoError> {
    if let Some(list) = info.get("files").and_then(|files| files.list()) {
        let mut budget = Budget::new();
        let files = list
            .enumerate()
            .map(|(number, file)| one_of_many(&file, number, &mut budget));
        return Ok(Some(Listing {
            files: files.collect::<Result<_, _>>()?,
            single: false,
        }));
    }
    if info.get("length").is_none() {
        return Ok(None);
    }
    let raw = info.get("name.utf-8").and_then(|name| name.bytes());
    let raw = raw
        .or_else(|| info.get("name").and_then(|name| name.bytes()))
        .unwrap_or_default();
    if raw.is_empty() || names::safe_name(raw).is_none() {
        return Err(MetainfoError::NoName);
    }
    let file = file(info, 0, names::named(std::iter::once(raw)))?;
    Ok(Some(Listing {
        files: vec![file],
        single: true,
    }))
}

fn one_of_many(value: &Value<'_>, number: usize, budget: &mut Budget) -> Result<File, MetainfoError> {
    if !value.is_dict() {
        return Err(MetainfoError::NotAFile(number));
    }
    let path = value.get("path.utf-8").and_then(|path| path.list());
    let path = path.or_else(|| value.get("path").and_then(|path| path.list()));
    let components: Option<Vec<&[u8]>> = path
        .into_iter()
        .flatten()
        .take(DEPTH_MAX + 1)
        .map(|name| name.bytes())
        .collect();
    let components = components.ok_or(MetainfoError::PathNotText(number))?;
    if components.len() > DEPTH_MAX {
        return Err(MetainfoError::TooDeep(number));
    }
    budget.pay(components.iter().copied())?;
    if !components.is_empty() {
        return file(value, number, names::named(components.into_iter()));
    }
    if !Attributes::of(value).padding {
        return Err(MetainfoError::NoPath(number));
    }
    let name = number.to_string();
    file(
        value,
        number,
        names::named([&b".pad"[..], name.as_bytes()].into_iter()),
    )
}

fn file(value: &Value<'_>, number: usize, named: names::Named) -> Result<File, MetainfoError> {
    let attributes = Attributes::of(value);
    let length = if attributes.symlink {
        Some(0)
    } else {
        value.get("length").and_then(|length| length.int())
    };
    let length = length
        .and_then(|length| u64::try_from(length).ok())
        .filter(|length| *length <= FILE_LENGTH_MAX);
    let bitcomet = named
        .path
        .components()
        .any(|name| name.contains(BITCOMET_PADDING));
    let link = link(value, attributes, number)?;
    let kind = match &link {
        _ if attributes.padding || bitcomet => FileKind::Padding,
        Some(_) => FileKind::Symlink,
        None => FileKind::Regular,
    };
    Ok(File {
        path: named.path,
        length: length.ok_or(MetainfoError::Length(number))?,
        offset: 0,
        kind,
        executable: attributes.executable,
        pieces_root: None,
        link,
        original: named.original,
    })
}

/// Where a symbolic link leads, counted from the torrent's root. Made safe like any path, it cannot lead out.
pub(super) fn link(
    value: &Value<'_>,
    attributes: Attributes,
    number: usize,
) -> Result<Option<names::SafePath>, MetainfoError> {
    let path = value
        .get("symlink path")
        .and_then(|path| path.list())
        .filter(|_| attributes.symlink);
    let components: Option<Vec<&[u8]>> = path
        .into_iter()
        .flatten()
        .take(DEPTH_MAX + 1)
        .map(|name| name.bytes())
        .collect();
    let mut components = components.ok_or(MetainfoError::PathNotText(number))?;
    if components.len() > DEPTH_MAX {
        return Err(MetainfoError::TooDeep(number));
    }
    components.retain(|name| !matches!(*name, b"." | b".."));
    Ok((!components.is_empty()).then(|| names::named(components.into_iter()).path))
}
