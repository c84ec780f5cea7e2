//! `seeder inspect FILE|MAGNET`: what a torrent or a magnet link says, for people or as one JSON object. A torrent that is
//! refused here is refused everywhere.

use std::fmt;
use std::path::Path;

use indicatif::BinaryBytes;
use serde::Serialize;
use shared::id::{InfoHash, InfoHashV2};
use shared::magnet::Magnet;
use shared::metainfo::{self, FileKind, Info, Metainfo};

use super::{Failure, print};
use crate::library::torrent_file::read_torrent;

/// Lines of files before the rest is only counted.
const FILE_LINES: usize = 40;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A .torrent file or a magnet link
    #[arg(value_name = "FILE|MAGNET")]
    torrent: String,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Print every file, however many there are
    #[arg(long)]
    all: bool,
}

pub fn run(args: Args) -> Result<(), Failure> {
    if args
        .torrent
        .get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("magnet:"))
    {
        let magnet: Magnet = args.torrent.parse().map_err(Failure::failed)?;
        return if args.json {
            print_json(&Report::of_magnet(&magnet))
        } else {
            print(MagnetText(&magnet))
        };
    }
    let torrent = read_torrent(Path::new(&args.torrent))?;
    let lines = if args.all { usize::MAX } else { FILE_LINES };
    if args.json {
        print_json(&Report::of_torrent(&torrent))
    } else {
        print(TorrentText {
            torrent: &torrent,
            lines,
        })
    }
}

fn print_json(report: &Report<'_>) -> Result<(), Failure> {
    print(serde_json::to_string(report).map_err(Failure::failed)?)
}

/// The JSON object. Scripts rely on the names; more may be added, nothing renamed.
#[derive(Serialize)]
struct Report<'a> {
    name: Option<&'a str>,
    info_hash_v1: Option<String>,
    info_hash_v2: Option<String>,
    piece_length: Option<u32>,
    piece_count: Option<u32>,
    content_size: Option<u64>,
    content_files: Option<usize>,
    files: Vec<FileReport>,
    private: Option<bool>,
    trackers: Vec<&'a str>,
    tracker_tiers: Vec<Vec<&'a str>>,
    web_seeds: &'a [String],
    source: Option<&'a str>,
    comment: Option<&'a str>,
    created_by: Option<&'a str>,
    creation_date: Option<i64>,
    /// A v2 torrent without its piece layers must ask its peers for them before it can fetch or check anything.
    has_layers: Option<bool>,
    /// Files that the link selects, such as `0,2,6-8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    only: Option<String>,
    magnet: String,
}

#[derive(Serialize)]
struct FileReport {
    /// Below the folder for downloads, with `/` on every system.
    path: String,
    length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

impl<'a> Report<'a> {
    fn of_torrent(torrent: &'a Metainfo) -> Self {
        let info = &torrent.info;
        let files: Vec<FileReport> = content(info).map(|file| FileReport::of(info, file)).collect();
        Self {
            name: Some(info.name()),
            info_hash_v1: info.info_hash_v1().as_ref().map(InfoHash::to_string),
            info_hash_v2: info.info_hash_v2().as_ref().map(InfoHashV2::to_string),
            piece_length: Some(info.geometry().piece_length()),
            piece_count: Some(info.geometry().piece_count()),
            content_size: Some(info.content_size()),
            content_files: Some(files.len()),
            files,
            private: Some(info.private()),
            trackers: torrent.trackers.iter().flatten().map(String::as_str).collect(),
            tracker_tiers: torrent
                .trackers
                .iter()
                .map(|tier| tier.iter().map(String::as_str).collect())
                .collect(),
            web_seeds: &torrent.web_seeds,
            source: info.source(),
            comment: torrent.comment.as_deref(),
            created_by: torrent.created_by.as_deref(),
            creation_date: torrent.creation_date,
            has_layers: Some(info.has_layers()),
            only: None,
            magnet: torrent.magnet().to_string(),
        }
    }

    fn of_magnet(magnet: &'a Magnet) -> Self {
        Self {
            name: magnet.name.as_deref(),
            info_hash_v1: magnet.info_hash_v1.as_ref().map(InfoHash::to_string),
            info_hash_v2: magnet.info_hash_v2.as_ref().map(InfoHashV2::to_string),
            piece_length: None,
            piece_count: None,
            content_size: magnet.exact_length,
            content_files: None,
            files: Vec::new(),
            private: None,
            trackers: magnet.trackers.iter().map(String::as_str).collect(),
            tracker_tiers: magnet.trackers.iter().map(|url| vec![url.as_str()]).collect(),
            web_seeds: &magnet.web_seeds,
            source: None,
            comment: None,
            created_by: None,
            creation_date: None,
            has_layers: None,
            only: magnet.only.as_ref().map(ToString::to_string),
            magnet: magnet.to_string(),
        }
    }
}

impl FileReport {
    fn of(info: &Info, file: &metainfo::File) -> Self {
        let link = file.link.as_ref().map(ToString::to_string);
        Self {
            path: info.path_of(file).to_string(),
            length: file.length,
            link,
        }
    }
}

/// The files that somebody sees: all but padding.
fn content(info: &Info) -> impl Iterator<Item = &metainfo::File> {
    info.files().iter().filter(|file| file.kind != FileKind::Padding)
}

/// A magnet link for people.
struct MagnetText<'a>(&'a Magnet);

impl fmt::Display for MagnetText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnet = self.0;
        write!(f, "{}", magnet.name.as_deref().unwrap_or("(no name)"))?;
        hashes(f, magnet.info_hash_v1, magnet.info_hash_v2)?;
        if let Some(length) = magnet.exact_length {
            fact(f, "content", BinaryBytes(length))?;
        }
        trackers(f, magnet.trackers.iter().map(std::slice::from_ref))?;
        if let Some(only) = &magnet.only {
            fact(f, "only files", only)?;
        }
        magnet.peers.iter().try_for_each(|peer| fact(f, "peer", peer))?;
        magnet
            .web_seeds
            .iter()
            .try_for_each(|url| fact(f, "web seed", url))
    }
}

/// A torrent for people.
struct TorrentText<'a> {
    torrent: &'a Metainfo,
    lines: usize,
}

impl fmt::Display for TorrentText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (torrent, info) = (self.torrent, &self.torrent.info);
        write!(f, "{}", info.name())?;
        hashes(f, info.info_hash_v1(), info.info_hash_v2())?;
        let count = content(info).count();
        let files = if count == 1 {
            "1 file".to_owned()
        } else {
            format!("{count} files")
        };
        fact(
            f,
            "content",
            format_args!("{} in {files}", BinaryBytes(info.content_size())),
        )?;
        let (pieces, length) = (
            info.geometry().piece_count(),
            u64::from(info.geometry().piece_length()),
        );
        fact(f, "pieces", format_args!("{pieces} of {}", BinaryBytes(length)))?;
        if !info.has_layers() {
            fact(
                f,
                "",
                "without its piece layers: peers are asked for them before anything is fetched",
            )?;
        }
        fact(
            f,
            "private",
            if info.private() {
                "yes: peers come from its trackers only"
            } else {
                "no"
            },
        )?;
        if let Some(source) = info.source() {
            fact(f, "source", source)?;
        }
        self.origin(f)?;
        trackers(f, torrent.trackers.iter().map(Vec::as_slice))?;
        torrent
            .web_seeds
            .iter()
            .try_for_each(|url| fact(f, "web seed", url))?;
        tree(f, info, self.lines)
    }
}

impl TorrentText<'_> {
    fn origin(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(date) = self
            .torrent
            .creation_date
            .and_then(|date| jiff::Timestamp::from_second(date).ok())
        {
            fact(f, "created", date)?;
        }
        if let Some(program) = &self.torrent.created_by {
            fact(f, "created by", program)?;
        }
        let lines = self.torrent.comment.iter().flat_map(|comment| comment.lines());
        lines
            .enumerate()
            .try_for_each(|(number, line)| fact(f, if number == 0 { "comment" } else { "" }, line))
    }
}

fn fact(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    write!(f, "\n  {name:<13}{value}")
}

fn hashes(f: &mut fmt::Formatter<'_>, v1: Option<InfoHash>, v2: Option<InfoHashV2>) -> fmt::Result {
    v1.iter().try_for_each(|hash| fact(f, "info-hash v1", hash))?;
    v2.iter().try_for_each(|hash| fact(f, "info-hash v2", hash))
}

fn trackers<'a>(f: &mut fmt::Formatter<'_>, tiers: impl Iterator<Item = &'a [String]>) -> fmt::Result {
    let mut name = "trackers";
    for (number, tier) in tiers.enumerate() {
        for (place, url) in tier.iter().enumerate() {
            let tier = if place == 0 {
                format!("{}.", number + 1)
            } else {
                String::new()
            };
            fact(f, name, format_args!("{tier:<3}{url}"))?;
            name = "";
        }
    }
    Ok(())
}

/// Files under their folders, in the order of the torrent; after so many lines the rest is only counted.
fn tree(f: &mut fmt::Formatter<'_>, info: &Info, limit: usize) -> fmt::Result {
    let (mut above, mut lines) = (Vec::new(), 0);
    for (shown, file) in content(info).enumerate().take_while(|_| !info.is_single_file()) {
        if lines >= limit {
            return fact(
                f,
                "",
                format_args!(
                    "… and {} more files; --all shows them",
                    content(info).count() - shown
                ),
            );
        }
        let mut folders: Vec<&str> = file.path.components().collect();
        let name = folders.pop().ok_or(fmt::Error)?;
        let same = folders
            .iter()
            .zip(&above)
            .take_while(|(one, other)| one == other)
            .count();
        for (depth, folder) in folders.iter().enumerate().skip(same) {
            write!(f, "\n  {:<13}{:indent$}{folder}/", "", "", indent = 2 * depth)?;
            lines += 1;
        }
        let size = BinaryBytes(file.length).to_string();
        write!(
            f,
            "\n  {size:>11}  {:indent$}{name}",
            "",
            indent = 2 * folders.len()
        )?;
        file.link.iter().try_for_each(|link| write!(f, " -> {link}"))?;
        (above, lines) = (folders, lines + 1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use shared::bencode::Writer;

    use super::*;

    fn torrent(count: usize) -> Metainfo {
        let mut writer = Writer::new();
        writer
            .dict()
            .key("announce-list")
            .list()
            .list()
            .bytes("http://a/")
            .bytes("udp://b:1")
            .end();
        writer
            .list()
            .bytes("http://c/")
            .end()
            .end()
            .key("info")
            .dict()
            .key("files")
            .list();
        for number in 0..count {
            writer
                .dict()
                .key("length")
                .int(1_024)
                .key("path")
                .list()
                .bytes("Sommer")
                .bytes(format!("{number}.jpg"));
            writer.end().end();
        }
        let pieces = vec![7; 20 * (count * 1_024).div_ceil(16_384)];
        writer
            .end()
            .key("name")
            .bytes("Fotos")
            .key("piece length")
            .int(16_384)
            .key("pieces")
            .bytes(pieces);
        writer.end().end();
        Metainfo::read(&writer.finish()).unwrap()
    }

    #[test]
    fn people_read_a_tree_and_tiers() {
        let text = TorrentText {
            torrent: &torrent(2),
            lines: 10,
        }
        .to_string();
        let tail: Vec<&str> = text.lines().skip(2).collect();
        let expected = [
            "  content      2.00 KiB in 2 files",
            "  pieces       1 of 16.00 KiB",
            "  private      no",
            "  trackers     1. http://a/",
            "                  udp://b:1",
            "               2. http://c/",
            "               Sommer/",
            "     1.00 KiB    0.jpg",
            "     1.00 KiB    1.jpg",
        ];
        assert_eq!(tail, expected);
    }

    #[test]
    fn a_long_list_ends_in_a_count() {
        let text = TorrentText {
            torrent: &torrent(100),
            lines: 11,
        }
        .to_string();
        assert!(
            text.ends_with("9.jpg\n               … and 90 more files; --all shows them"),
            "{text}"
        );
    }

    #[test]
    fn scripts_find_the_names_they_rely_on() {
        let torrent = torrent(2);
        let json = serde_json::to_value(Report::of_torrent(&torrent)).unwrap();
        assert_eq!(json["name"], "Fotos");
        assert_eq!(json["info_hash_v1"], torrent.info.wire_hash().to_string());
        assert_eq!(json["info_hash_v2"], serde_json::Value::Null);
        assert_eq!(
            (json["piece_length"].as_u64(), json["content_size"].as_u64()),
            (Some(16_384), Some(2_048))
        );
        assert_eq!(
            (json["content_files"].as_u64(), json["private"].as_bool()),
            (Some(2), Some(false))
        );
        assert_eq!(
            json["files"][1],
            serde_json::json!({ "path": "Fotos/Sommer/1.jpg", "length": 1_024 })
        );
        assert_eq!(
            json["trackers"],
            serde_json::json!(["http://a/", "udp://b:1", "http://c/"])
        );
    }

    #[test]
    fn a_magnet_link_says_what_it_knows() {
        let magnet: Magnet = format!("magnet:?xt=urn:btih:{}&dn=x&xl=5&so=3,4", "ab".repeat(20))
            .parse()
            .unwrap();
        let json = serde_json::to_value(Report::of_magnet(&magnet)).unwrap();
        assert_eq!(
            (json["name"].as_str(), json["content_size"].as_u64()),
            (Some("x"), Some(5))
        );
        assert_eq!(
            (&json["piece_length"], &json["content_files"]),
            (&serde_json::Value::Null, &serde_json::Value::Null)
        );
        assert_eq!(json["only"], "3-4");
        assert!(
            MagnetText(&magnet)
                .to_string()
                .starts_with("x\n  info-hash v1 abab")
        );
    }
}
