//! A .torrent file again, from what was read of one: what the store needs to take a torrent up, and no more.

use std::collections::BTreeMap;

use shared::metainfo::Info;

/// `info` byte for byte, and the piece layers of a v2 torrent. Its trackers are kept elsewhere.
pub(crate) fn torrent_file(info: &Info, about: &About<'_>) -> Vec<u8> {
    let mut file = b"d".to_vec();
    for (key, words) in [("comment", about.comment), ("created by", about.created_by)] {
        if let Some(words) = words {
            string(&mut file, key.as_bytes());
            string(&mut file, words.as_bytes());
        }
    }
    if let Some(date) = about.creation_date {
        string(&mut file, b"creation date");
        file.extend(format!("i{date}e").bytes());
    }
    string(&mut file, b"info");
    file.extend(info.raw());
    let layers: BTreeMap<[u8; 32], Vec<u8>> = info
        .files()
        .iter()
        .filter_map(|file| file.pieces_root)
        .filter_map(|root| Some((root, info.layer(&root)?.concat())))
        .collect();
    if !layers.is_empty() {
        string(&mut file, b"piece layers");
        file.push(b'd');
        for (root, layer) in layers {
            string(&mut file, &root);
            string(&mut file, &layer);
        }
        file.push(b'e');
    }
    if !about.web_seeds.is_empty() {
        string(&mut file, b"url-list");
        file.push(b'l');
        about
            .web_seeds
            .iter()
            .for_each(|url| string(&mut file, url.as_bytes()));
        file.push(b'e');
    }
    file.push(b'e');
    file
}

/// What stands around `info`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About<'a> {
    pub(crate) comment: Option<&'a str>,
    pub(crate) created_by: Option<&'a str>,
    pub(crate) creation_date: Option<i64>,
    pub(crate) web_seeds: &'a [String],
}

fn string(file: &mut Vec<u8>, bytes: &[u8]) {
    file.extend(format!("{}:", bytes.len()).bytes());
    file.extend(bytes);
}
