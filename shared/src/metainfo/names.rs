//! Names from strangers become names for a disk: nothing leads outside the folder, no two files share a path, no file is
//! also a folder, and nothing in a name can deceive a reader or a foreign file system.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Component, Path, PathBuf};

use super::MetainfoError;

/// Longest component in bytes, an extension beside it; file systems end at 255, and a number may follow.
const COMPONENT_MAX: usize = 240;

/// An extension that survives a cut, dot included.
const EXTENSION_MAX: usize = 9;

/// What no file system takes in one component.
const FILE_NAME_MAX: usize = 255;

/// Longest path in bytes; Linux ends at 4,096, and the folder that it lies in needs room too.
const PATH_MAX: usize = 3_000;

/// Names that were already taken when a new name was made for a duplicate, in all. libtorrent gives up at the same number.
const COLLISIONS_MAX: usize = 500;

/// What a component costs beside its letters.
const COMPONENT_COST: usize = 32;

/// What the paths of all files may cost together: 64 MiB are names for half a million files.
const NAMES_MAX: usize = 64 * 1024 * 1024;

/// A path below the folder that content is kept in. Each component is an ordinary name; none leads up or out.
///
/// One text with `/` between the names, none of which holds any: torrents have hundreds of thousands of these.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SafePath(Box<str>);

impl SafePath {
    /// Takes components of which each has been made safe; cuts them where the path is too long in all.
    pub(super) fn new(mut components: Vec<String>) -> Self {
        let length: usize = components.iter().map(|component| component.len() + 1).sum();
        if length > PATH_MAX {
            let share = (PATH_MAX / components.len().max(1))
                .saturating_sub(1 + EXTENSION_MAX)
                .max(8);
            for component in &mut components {
                *component = shortened(component, share);
            }
        }
        Self(components.join("/").into())
    }

    /// The components from the top down; at least one.
    pub fn components(&self) -> std::str::Split<'_, char> {
        self.0.split('/')
    }

    /// The last component, and those above it.
    fn split_last(&self) -> (&str, Option<&str>) {
        match self.0.rsplit_once('/') {
            Some((folders, name)) => (name, Some(folders)),
            None => (&self.0, None),
        }
    }

    /// The same with another last component.
    fn renamed(&self, name: &str) -> Self {
        let folders = self.split_last().1;
        Self(
            folders
                .into_iter()
                .chain([name])
                .collect::<Vec<_>>()
                .join("/")
                .into(),
        )
    }

    /// The relative path in the form of this system.
    pub fn to_path_buf(&self) -> PathBuf {
        self.components().collect()
    }

    /// The same path inside a folder, which is safe by itself.
    pub(super) fn below(&self, folder: &str) -> Self {
        Self([folder, &self.0].join("/").into())
    }
}

/// Where the maker of a torrent had a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Original {
    /// Where we have it too.
    Same,
    /// Elsewhere: components of which each is an ordinary name on this system, with `/` between them.
    Other(Box<str>),
    /// Where this system can have no file.
    Impossible,
}

/// Which path a file gets, and which its maker meant.
pub(super) struct Named {
    pub(super) path: SafePath,
    pub(super) original: Original,
}

/// Makes a path of raw components safe.
pub(super) fn named<'a>(raw: impl Iterator<Item = &'a [u8]> + Clone) -> Named {
    let path = SafePath::new(raw.clone().map(safe_component).collect());
    let original: Option<Vec<&str>> = raw.map(plain).collect();
    let original = original.map(|components| components.join("/"));
    Named {
        original: match original {
            None => Original::Impossible,
            Some(original) if *original == *path.0 => Original::Same,
            Some(original) => Original::Other(original.into()),
        },
        path,
    }
}

/// A name as it is, if this system can hold it as one component that leads neither up nor out.
pub(super) fn plain(raw: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(raw)
        .ok()
        .filter(|name| !name.contains('\0'))?;
    let mut components = Path::new(name).components();
    let ordinary = matches!(components.next(), Some(Component::Normal(only)) if only == name);
    (ordinary && components.next().is_none()).then_some(name)
}

/// Counts what the names of a torrent cost, since a deep folder is written once but repeated in the path of every file.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) const fn new() -> Self {
        Self(0)
    }

    /// Pays for one path.
    pub(super) fn pay<'a>(&mut self, raw: impl Iterator<Item = &'a [u8]>) -> Result<(), MetainfoError> {
        self.0 += raw
            .map(|name| name.len().min(FILE_NAME_MAX) + COMPONENT_COST)
            .sum::<usize>();
        if self.0 > NAMES_MAX {
            Err(MetainfoError::NamesTooLarge)
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Makes one component of a path safe. There is always something left, if only `_`.
pub fn safe_component(raw: &[u8]) -> String {
    cleaned(raw).unwrap_or_else(|| "_".to_owned())
}

/// Makes the name of a torrent safe; `None` where nothing of it can be kept.
pub fn safe_name(raw: &[u8]) -> Option<String> {
    if raw.is_empty() {
        Some("_".to_owned())
    } else {
        cleaned(raw)
    }
}

fn cleaned(raw: &[u8]) -> Option<String> {
    let mut name = String::with_capacity(raw.len().min(FILE_NAME_MAX));
    for chunk in raw.utf8_chunks() {
        name.extend(
            chunk
                .valid()
                .chars()
                .filter(|letter| !is_dropped(*letter))
                .map(visible),
        );
        name.extend(chunk.invalid().iter().map(|_| '_'));
    }
    if matches!(name.as_str(), "" | "." | "..") {
        return None;
    }
    let name = if name.len() > COMPONENT_MAX {
        shortened(&name, COMPONENT_MAX)
    } else {
        name
    };
    Some(unreserved(name))
}

/// Separators of any system, the end of a C string, and marks that turn the direction of writing.
fn is_dropped(letter: char) -> bool {
    matches!(letter, '\0' | '/' | '\\') || is_turning(letter)
}

/// With these, `exe.jpg` reads as it is not.
pub(super) fn is_turning(letter: char) -> bool {
    matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn visible(letter: char) -> char {
    if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') {
        '_'
    } else {
        letter
    }
}

/// Names that Windows keeps for devices, whatever their extension.
fn unreserved(name: String) -> String {
    let stem = name.split('.').next().unwrap_or_default();
    let bare = stem.trim_end().to_ascii_lowercase();
    let numbered = |prefix| {
        let digit = bare.strip_prefix(prefix);
        digit.is_some_and(|digit| {
            matches!(digit, "¹" | "²" | "³") || matches!(digit.as_bytes(), [b'0'..=b'9'])
        })
    };
    let device = matches!(
        bare.as_str(),
        "con" | "prn" | "aux" | "nul" | "clock$" | "conin$" | "conout$"
    );
    if device || numbered("com") || numbered("lpt") {
        let (stem, rest) = name.split_at(stem.len());
        return format!("{stem}_{rest}");
    }
    name
}

/// Cuts a name to so many bytes and keeps a short extension beside them.
fn shortened(name: &str, limit: usize) -> String {
    if name.len() <= limit {
        return name.to_owned();
    }
    let dot = name
        .rfind('.')
        .filter(|dot| name.len() - dot <= EXTENSION_MAX)
        .unwrap_or(name.len());
    let (head, tail) = (front(name, limit.min(dot)), name.get(dot..).unwrap_or_default());
    [head, tail].concat()
}

/// At most so many bytes, and no half letter.
fn front(name: &str, limit: usize) -> &str {
    let ends = name
        .char_indices()
        .map(|(start, letter)| start + letter.len_utf8());
    let end = ends.take_while(|end| *end <= limit).last().unwrap_or_default();
    name.get(..end).unwrap_or_default()
}

/// Finds for every file a path of its own, also where a file system does not tell large letters from small. Folders keep
/// their names, files in their way get a number. Returns the files that need another path, with that.
pub(super) fn make_unique(paths: &[&SafePath]) -> Result<Vec<(usize, SafePath)>, MetainfoError> {
    if are_unique(paths) {
        return Ok(Vec::new());
    }
    let mut tree = Tree::default();
    let folders: Vec<u32> = paths.iter().map(|path| tree.folder(path)).collect();
    let (mut changed, mut collisions) = (Vec::new(), 0);
    for (number, (path, folder)) in paths.iter().zip(folders).enumerate() {
        let (name, _) = path.split_last();
        if !tree.take(folder, name) {
            let name = tree.free_name(folder, name, &mut collisions)?;
            changed.push((number, path.renamed(&name)));
        }
    }
    Ok(changed)
}

/// Is it certain that all paths are unique already? As it nearly always is, and told by a digest of each, a tenth of what a
/// tree of all names needs. Two that share one by chance, or on purpose, only cost the longer way.
fn are_unique(paths: &[&SafePath]) -> bool {
    let (mut files, mut folders) = (Vec::with_capacity(paths.len()), Vec::new());
    let mut above: Option<&str> = None;
    for path in paths {
        let mut digest = DefaultHasher::new();
        let mut components = path.components().peekable();
        let new_folder = path.split_last().1 != above;
        while let Some(name) = components.next() {
            name.to_lowercase().hash(&mut digest);
            if components.peek().is_none() {
                files.push(digest.finish());
            } else if new_folder {
                folders.push(digest.finish());
            }
        }
        above = path.split_last().1;
    }
    files.sort_unstable();
    let distinct = files.windows(2).all(|pair| pair.first() != pair.last());
    distinct && folders.iter().all(|folder| files.binary_search(folder).is_err())
}

/// The names that are taken, folder by folder, in small letters.
#[derive(Default)]
struct Tree {
    names: BTreeMap<(u32, String), u32>,
}

impl Tree {
    /// The folder that a path lies in, as a number; makes it where it is missing.
    fn folder(&mut self, path: &SafePath) -> u32 {
        let folders = path.split_last().1.into_iter().flat_map(|above| above.split('/'));
        folders.fold(0, |parent, name| {
            let next = u32::try_from(self.names.len())
                .unwrap_or(u32::MAX)
                .saturating_add(1);
            *self.names.entry((parent, name.to_lowercase())).or_insert(next)
        })
    }

    /// Takes a name in a folder; says whether it was free.
    fn take(&mut self, folder: u32, name: &str) -> bool {
        let next = u32::try_from(self.names.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let mut free = false;
        self.names
            .entry((folder, name.to_lowercase()))
            .or_insert_with(|| {
                free = true;
                next
            });
        free
    }

    /// Takes `stem.N.extension` with the first number that is free.
    fn free_name(
        &mut self,
        folder: u32,
        name: &str,
        collisions: &mut usize,
    ) -> Result<String, MetainfoError> {
        let dot = name.rfind('.').filter(|dot| *dot > 0).unwrap_or(name.len());
        let (stem, extension) = name.split_at(dot);
        for number in 1.. {
            let ending = format!(".{number}{extension}");
            let room = FILE_NAME_MAX.saturating_sub(ending.len());
            let stem = front(stem, room);
            let name = format!("{stem}{ending}");
            if self.take(folder, &name) {
                return Ok(name);
            }
            *collisions += 1;
            if *collisions > COLLISIONS_MAX {
                break;
            }
        }
        Err(MetainfoError::TooManyDuplicates(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(raw: impl AsRef<[u8]>, safe: &str) {
        assert_eq!(safe_component(raw.as_ref()), safe);
    }

    #[test]
    fn nothing_leads_up_or_out() {
        for raw in [
            "", ".", "..", "/", "//", "../", "/..", "\\..", "..\\", "./", "\0", ".\0.",
        ] {
            check(raw, "_");
        }
        check("/etc/passwd", "etcpasswd");
        check("C:\\Windows", "C:Windows");
        check("...", "...");
        check("a/../b", "a..b");
    }

    #[test]
    fn what_cannot_be_read_or_deceives_is_replaced_or_dropped() {
        check("photo\u{202e}gpj.exe", "photogpj.exe");
        check("a\u{2066}b\u{200f}c\u{61c}", "abc");
        check("line\nbreak\x7f\u{9b}31m", "line_break__31m");
        check(b"caf\xe9", "caf_");
        check(b"\xff\xfe", "__");
        check(".\u{202e}.", "_");
        check("👩\u{200d}👧.jpg", "👩\u{200d}👧.jpg");
    }

    #[test]
    fn device_names_of_windows_are_marked() {
        check("CON", "CON_");
        check("aux.tar.gz", "aux_.tar.gz");
        check("Com7.txt", "Com7_.txt");
        check("lpt²", "lpt²_");
        check("nul .txt", "nul _.txt");
        check("console", "console");
        check("com10", "com10");
    }

    #[test]
    fn long_names_are_cut_and_keep_their_extension() {
        check("a".repeat(300) + ".jpeg", &("a".repeat(240) + ".jpeg"));
        check("a".repeat(300), &"a".repeat(240));
        check("é".repeat(200), &"é".repeat(120));
        check("a".repeat(300) + &".".repeat(9), &("a".repeat(240) + "."));
        check("a".repeat(235) + ".jpeg", &("a".repeat(235) + ".jpeg"));
    }

    #[test]
    fn a_torrent_name_of_nothing_is_none() {
        assert_eq!(safe_name(b".."), None);
        assert_eq!(safe_name(b"/"), None);
        assert_eq!(safe_name(b"").as_deref(), Some("_"));
    }

    #[test]
    fn a_hundred_long_folders_still_fit_a_path() {
        let path = SafePath::new(vec!["x".repeat(240); 100]);
        assert!(path.to_string().len() <= PATH_MAX);
        assert_eq!(path.components().count(), 100);
    }

    #[track_caller]
    fn unique(before: &[&str], after: &[&str]) {
        let path = |text: &&str| SafePath::new(text.split('/').map(str::to_owned).collect());
        let paths = made_unique(before.iter().map(path).collect()).unwrap();
        assert_eq!(paths.iter().map(ToString::to_string).collect::<Vec<_>>(), after);
    }

    fn made_unique(mut paths: Vec<SafePath>) -> Result<Vec<SafePath>, MetainfoError> {
        for (number, path) in make_unique(&paths.iter().collect::<Vec<_>>())? {
            paths[number] = path;
        }
        Ok(paths)
    }

    #[test]
    fn duplicates_get_numbers_before_their_extension() {
        unique(&["a.jpg", "a.jpg", "A.JPG"], &["a.jpg", "a.1.jpg", "A.2.JPG"]);
        unique(&["_", "_", "_.1"], &["_", "_.1", "_.1.1"]);
        unique(&[".x", ".X"], &[".x", ".X.1"]);
        unique(
            &["Straße", "STRASSE", "ÉTÉ", "été"],
            &["Straße", "STRASSE", "ÉTÉ", "été.1"],
        );
        let long = "n".repeat(255);
        unique(&[&long, &long], &[&long, &format!("{}.1", "n".repeat(253))]);
    }

    #[test]
    fn a_file_in_the_way_of_a_folder_gives_way() {
        unique(&["A", "a", "a/b"], &["A.1", "a.2", "a/b"]);
        unique(&["x/y/z", "x/Y", "X"], &["x/y/z", "x/Y.1", "X.1"]);
        unique(&["Foo/a", "foo/a"], &["Foo/a", "foo/a.1"]);
    }

    #[test]
    fn a_torrent_of_nothing_but_duplicates_is_refused() {
        let error = made_unique(vec![SafePath::new(vec!["a.txt".to_owned()]); 34]).unwrap_err();
        assert_eq!(error, MetainfoError::TooManyDuplicates("a.txt".to_owned()));
    }

    proptest! {
        #[test]
        fn every_name_is_one_ordinary_component(raw in prop::collection::vec(any::<u8>(), 0..400)) {
            let safe = safe_component(&raw);
            prop_assert!(!safe.is_empty() && safe != "." && safe != ".." && safe.len() <= 255);
            prop_assert!(!safe.contains(['/', '\\', '\0']));
            prop_assert_eq!(PathBuf::from(&safe).components().count(), 1);
            prop_assert_eq!(safe_component(safe.as_bytes()), safe, "a safe name stays as it is");
        }

        #[test]
        fn no_two_files_share_a_path(names in prop::collection::vec("[aA.]{1,2}(/[aA.]{1,2}){0,2}", 1..12)) {
            let path = |text: &String| SafePath::new(text.split('/').map(|name| safe_component(name.as_bytes())).collect());
            let paths = made_unique(names.iter().map(path).collect()).unwrap();
            let texts: Vec<String> = paths.iter().map(|path| path.to_string().to_lowercase()).collect();
            for (index, text) in texts.iter().enumerate() {
                let folder = format!("{text}/");
                for (other, longer) in texts.iter().enumerate() {
                    prop_assert!(index == other || (text != longer && !longer.starts_with(&folder)), "{texts:?}");
                }
            }
        }
    }
}
