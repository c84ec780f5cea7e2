//! Torrents built byte by byte, valid and hostile.

use super::*;
use crate::bencode::Writer;

/// A v1 torrent of one file.
fn single(edit: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.dict().key("info").dict();
    edit(&mut writer);
    writer.end().end();
    writer.finish()
}

#[test]
fn a_small_v1_torrent_is_read() {
    let bytes = single(|info| {
        info.key("length")
            .int(5)
            .key("name")
            .bytes("a.txt")
            .key("piece length")
            .int(16_384);
        info.key("pieces")
            .bytes([7; 20])
            .key("private")
            .int(1)
            .key("source")
            .bytes("home");
    });
    let torrent = Metainfo::read(&bytes).unwrap();
    assert_eq!(
        (torrent.info.name(), torrent.info.source()),
        ("a.txt", Some("home"))
    );
    assert!(torrent.info.private() && torrent.info.is_single_file() && torrent.info.has_layers());
    assert_eq!(
        torrent.info.disk_path(&torrent.info.files()[0]).to_str(),
        Some("a.txt")
    );
    assert_eq!(torrent.info.raw(), &bytes[7..bytes.len() - 1]);
}
