//! Made-up files and their digests: what left must be what arrives.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// SHA-256 of every regular file under a folder, by its path inside the folder.
pub type Digests = BTreeMap<PathBuf, String>;

/// Writes a file of noise: the same seed, the same bytes.
#[track_caller]
pub fn fill(path: &Path, seed: u64, length: u64) {
    fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder for the file");
    let mut dice = SmallRng::seed_from_u64(seed);
    let mut file = fs::File::create(path).expect("a new file");
    let mut buffer = vec![0; 256 * 1024];
    let mut left = length;
    while left > 0 {
        let take = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let slice = buffer.get_mut(..take).expect("shorter than the buffer");
        dice.fill_bytes(slice);
        file.write_all(slice).expect("room for the file");
        left -= take as u64;
    }
}

/// A folder of files of these lengths, some of them in folders below; names with spaces, umlauts and an emoji.
#[track_caller]
pub fn fill_folder(folder: &Path, seed: u64, lengths: &[u64]) {
    const PLACES: [&str; 4] = ["", "Summer 2019/", "Größe/", "Summer 2019/the beach 🏖/"];
    for (number, length) in lengths.iter().enumerate() {
        let place = PLACES.get(number % PLACES.len()).copied().unwrap_or_default();
        fill(
            &folder.join(format!("{place}IMG_{number:04}.jpg")),
            seed + number as u64,
            *length,
        );
    }
}

/// SHA-256 of one file, in hex.
#[track_caller]
pub fn sha256(path: &Path) -> String {
    let mut file = fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 256 * 1024]);
    loop {
        let length = file
            .read(&mut buffer)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if length == 0 {
            return data_encoding::HEXLOWER.encode(&hasher.finalize());
        }
        hasher.update(buffer.get(..length).unwrap_or_default());
    }
}

/// Digests of all regular files under a folder, or of the one file. Symbolic links are not followed.
#[track_caller]
pub fn digests(path: &Path) -> Digests {
    let mut found = Digests::new();
    if path.is_file() {
        found.insert(
            PathBuf::from(path.file_name().expect("a file has a name")),
            sha256(path),
        );
    } else {
        gather(path, path, &mut found);
    }
    assert!(!found.is_empty(), "{} holds no file", path.display());
    found
}

fn gather(root: &Path, folder: &Path, found: &mut Digests) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let entry = entry.expect("an entry of a folder");
        let kind = entry.file_type().expect("an entry has a kind");
        if kind.is_dir() {
            gather(root, &entry.path(), found);
        } else if kind.is_file() {
            let path = entry.path();
            found.insert(
                path.strip_prefix(root).expect("inside the folder").to_owned(),
                sha256(&path),
            );
        }
    }
}
