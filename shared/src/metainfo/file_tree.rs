//! The files of a v2 torrent: a tree of dictionaries (BEP 52), walked with a stack of our own.

use crate::bencode::{Entries, Value};

use super::MetainfoError;
use super::file_list::{self, Attributes, FILE_LENGTH_MAX};
use super::info::{File, FileKind, Listing};
use super::names::{self, Budget};

/// Reads the file tree. `many` says that a v1 list beside it has put the files into a folder.
pub(super) fn read(tree: &Value<'_>, many: bool) -> Result<Listing, MetainfoError> {
    let mut walk = Walk {
        files: Vec::new(),
        budget: Budget::new(),
        path: Vec::new(),
        seen: 0,
        single: false,
    };
    let mut open: Vec<Entries<'_>> = tree.dict().into_iter().collect();
    let alone = !many && tree.dict().is_some_and(|entries| entries.count() == 1);
    while let Some(entries) = open.last_mut() {
        let Some((name, value)) = entries.next() else {
            open.pop();
            walk.path.pop();
            continue;
        };
        walk.seen += 1;
        if let Some(folder) = walk.entry(name, &value, alone && open.len() == 1)? {
            walk.path.push(name);
            open.push(folder);
        }
    }
    Ok(Listing {
        files: walk.files,
        single: walk.single,
    })
}

struct Walk<'a> {
    files: Vec<File>,
    budget: Budget,
    /// The folders above, as they are written.
    path: Vec<&'a [u8]>,
    /// Entries so far, to name one in an error.
    seen: usize,
    single: bool,
}

impl<'a> Walk<'a> {
    /// Takes a file in; a folder is given back to be walked next.
    fn entry(
        &mut self,
        name: &'a [u8],
        value: &Value<'a>,
        alone: bool,
    ) -> Result<Option<Entries<'a>>, MetainfoError> {
        let mut inside = value
            .dict()
            .filter(|_| !name.is_empty())
            .ok_or(MetainfoError::BrokenFileTree(self.seen))?;
        let folder = inside.clone();
        match (inside.next(), inside.next()) {
            (Some((b"", file)), None) => {
                self.single = alone;
                self.file(name, &file)?;
                Ok(None)
            }
            _ => Ok(Some(folder)),
        }
    }

    fn file(&mut self, name: &'a [u8], value: &Value<'a>) -> Result<(), MetainfoError> {
        let number = self.files.len();
        if !value.is_dict() {
            return Err(MetainfoError::BrokenFileTree(self.seen));
        }
        let attributes = Attributes::of(value);
        if attributes.padding {
            return Err(MetainfoError::PaddingInV2(number));
        }
        let components = self.path.iter().copied().chain(std::iter::once(name));
        self.budget.pay(components.clone())?;
        let named = names::named(components);
        let link = file_list::link(value, attributes, number)?;
        let length = length(value, attributes).ok_or(MetainfoError::Length(number))?;
        let pieces_root = if length > 0 {
            Some(pieces_root(value, number)?)
        } else {
            None
        };
        self.files.push(File {
            path: named.path,
            length,
            offset: 0,
            kind: if link.is_some() {
                FileKind::Symlink
            } else {
                FileKind::Regular
            },
            executable: attributes.executable,
            pieces_root,
            link,
            original: named.original,
        });
        Ok(())
    }
}

fn length(value: &Value<'_>, attributes: Attributes) -> Option<u64> {
    if attributes.symlink {
        return Some(0);
    }
    let length = u64::try_from(value.get("length")?.int()?).ok()?;
    (length <= FILE_LENGTH_MAX).then_some(length)
}

fn pieces_root(value: &Value<'_>, number: usize) -> Result<[u8; 32], MetainfoError> {
    let root = value
        .get("pieces root")
        .and_then(|root| root.bytes())
        .and_then(|root| root.try_into().ok());
    root.filter(|root| *root != [0; 32])
        .ok_or(MetainfoError::NoPiecesRoot(number))
}
