//! `seeder create`: a torrent from a file or folder.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use shared::metainfo::write::{Details, Format};
use url::Url;

use super::progress::{rate, watch};
use super::{Failure, print, tell};
use crate::library::create::{Created, Options, Plan, all_cores};
use crate::library::filter::Filter;
use crate::library::piece_length;
use crate::library::progress::Progress;

#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags are flags")]
pub struct Args {
    /// The file or folder to share
    path: PathBuf,

    /// Where the torrent goes [default: NAME.torrent in the current folder]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Replace the output where it exists
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    format: FormatFlags,

    /// A tracker's announce URL. Repeated: one tier each; several with commas between: one tier
    #[arg(long, short, value_name = "URL")]
    tracker: Vec<String>,

    /// Trackers only: clients ask neither the DHT nor each other for peers
    #[arg(long)]
    private: bool,

    /// A word that makes the info-hash another one, so that the same files can go to several trackers
    #[arg(long, value_name = "WORD")]
    source: Option<String>,

    /// A comment for whoever looks into the torrent
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,

    /// A web server that has the content too
    #[arg(long, value_name = "URL")]
    web_seed: Vec<String>,

    /// Bytes a piece, such as 256KiB or 4MiB: a power of two [default: one that makes about 1,000 to 2,000 pieces]
    #[arg(long, value_name = "SIZE", value_parser = piece_length::parse)]
    piece_length: Option<u32>,

    #[command(flatten)]
    filter: FilterFlags,

    /// Say when the torrent was made; without it, the same content and flags always give the same file
    #[arg(long, overrides_with = "no_date")]
    date: bool,

    /// Do not say when the torrent was made (so it is by default)
    #[arg(long)]
    no_date: bool,

    /// How many cores may hash at once [default: all]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZeroUsize>,

    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Who will be able to use the torrent.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[group(multiple = false)]
pub struct FormatFlags {
    /// For every client (the default)
    #[arg(long)]
    v1: bool,

    /// For clients of the new generation only
    #[arg(long)]
    v2: bool,

    /// For both generations, but not for Transmission 3 and aria2
    #[arg(long)]
    hybrid: bool,
}

impl FormatFlags {
    pub fn format(self) -> Format {
        match (self.hybrid, self.v2) {
            (true, _) => Format::Hybrid,
            (false, true) => Format::V2,
            (false, false) => Format::V1,
        }
    }
}

/// Which files of a folder are meant.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FilterFlags {
    /// Only files that match, such as '*.jpg' or 'summer/**', in any case; what is in a matching folder matches too
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,

    /// No files that match, not even included ones
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,

    /// Keep what systems strew about, such as `.DS_Store`, `Thumbs.db` and `@eaDir`
    #[arg(long, visible_alias = "no-junk-filter")]
    keep_junk: bool,
}

impl FilterFlags {
    pub fn filter(&self) -> Result<Filter, Failure> {
        Filter::new(&self.include, &self.exclude, self.keep_junk).map_err(Failure::usage)
    }
}

/// Walks, hashes, writes the torrent, says what it is.
pub fn run(args: Args) -> Result<(), Failure> {
    let options = args.options()?;
    let plan = Plan::new(&args.path, &options).map_err(Failure::failed)?;
    let output = match &args.output {
        Some(output) => output.clone(),
        None => PathBuf::from(format!("{}.torrent", plan.layout().name())),
    };
    check_output(&output, &args)?;
    tell_about(&plan, &options);
    let progress = Progress::default();
    let threads = args.threads.unwrap_or_else(all_cores);
    let (created, elapsed) = watch("hashing", &progress, || plan.create(threads, &progress));
    let created = created.map_err(Failure::failed)?;
    save(&output, &created.bytes, args.force)?;
    let output = output.canonicalize().unwrap_or(output);
    report(
        &Report {
            plan: &plan,
            created: &created,
            output: &output,
            elapsed,
        },
        args.json,
    )
}

impl Args {
    fn options(&self) -> Result<Options, Failure> {
        let trackers = self
            .tracker
            .iter()
            .map(|tier| tier_of(tier))
            .collect::<Result<Vec<_>, _>>()?;
        for seed in &self.web_seed {
            check_url(seed, "--web-seed", &["http", "https", "ftp"])?;
        }
        Ok(Options {
            format: self.format.format(),
            piece_length: self.piece_length,
            filter: self.filter.filter()?,
            details: Details {
                trackers,
                web_seeds: self.web_seed.clone(),
                comment: self.comment.clone(),
                created_by: Some(concat!("Kinswarm seeder ", env!("CARGO_PKG_VERSION")).to_owned()),
                creation_date: self.date.then(today),
                private: self.private,
                source: self.source.clone(),
            },
        })
    }
}

/// One tier: URLs with commas between them.
pub fn tier_of(typed: &str) -> Result<Vec<String>, Failure> {
    let urls: Vec<String> = typed.split(',').map(|url| url.trim().to_owned()).collect();
    for url in &urls {
        check_url(url, "--tracker", &["http", "https", "udp", "ws", "wss"])?;
    }
    Ok(urls)
}

fn check_url(url: &str, flag: &str, schemes: &[&str]) -> Result<(), Failure> {
    let why = match Url::parse(url) {
        Ok(parsed) if !schemes.contains(&parsed.scheme()) => {
            format!("it begins with none of {}", schemes.join(", "))
        }
        Ok(parsed) if parsed.host_str().is_none_or(str::is_empty) => "it names no host".to_owned(),
        Ok(_) => return Ok(()),
        Err(error) => format!("not a URL ({error}); one looks like http://tracker.example.org:6969/announce"),
    };
    Err(Failure::usage(format_args!("{flag} {url}: {why}")))
}

/// Seconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "the creation date is a date on the wall, which no Moment can tell"
)]
fn today() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or_default()
}

/// Said before the hashing, which may take an hour.
fn check_output(output: &Path, args: &Args) -> Result<(), Failure> {
    let folder = folder_of(output);
    let real = folder.canonicalize().map_err(|error| {
        Failure::failed(format_args!(
            "--output {}: {}: {error}",
            output.display(),
            folder.display()
        ))
    })?;
    let shared = args
        .path
        .canonicalize()
        .map_err(|error| Failure::failed(format_args!("{}: {error}", args.path.display())))?;
    let lands_at = real.join(output.file_name().unwrap_or_default());
    if lands_at.starts_with(&shared) {
        return Err(Failure::usage(format_args!(
            "the torrent would land in what it shares, at {}; name another place with --output",
            lands_at.display()
        )));
    }
    if output.is_dir() {
        return Err(Failure::usage(format_args!(
            "--output {} is a folder; name a file in it",
            output.display()
        )));
    }
    if output.exists() && !args.force {
        return Err(exists(output));
    }
    Ok(())
}

fn folder_of(output: &Path) -> &Path {
    output
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn exists(output: &Path) -> Failure {
    Failure::failed(format_args!(
        "{} exists already; replace it with --force or choose another --output",
        output.display()
    ))
}

fn tell_about(plan: &Plan, options: &Options) {
    for skipped in &plan.skipped {
        tell(format_args!(
            "warning: {} is left out: {}",
            skipped.path.display(),
            skipped.why
        ));
    }
    if plan.junk > 0 {
        tell(format_args!(
            "{} left out as junk; --keep-junk keeps it",
            counted(plan.junk, "file or folder", "files or folders")
        ));
    }
    match options.format {
        Format::V1 => {}
        Format::Hybrid => tell("warning: Transmission 3.00 and aria2 1.36 cannot use hybrid torrents"),
        Format::V2 => tell(
            "warning: only clients of the new generation, such as those built on libtorrent 2, can use v2 torrents",
        ),
    }
    if options.details.trackers.is_empty() {
        tell("note: without a tracker (--tracker URL) peers must find each other by themselves");
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Writes the whole file beside its place and moves it there: nobody ever sees half a torrent.
pub fn save(output: &Path, bytes: &[u8], replace: bool) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format_args!("{}: {error}", output.display()));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".seeder-").suffix(".part");
    // Torrents are for handing on; the umask still has its say.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder_of(output)).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    let placed = if replace {
        file.persist(output)
    } else {
        file.persist_noclobber(output)
    };
    match placed {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(output)),
        Err(error) => Err(failed(error.error)),
    }
}

struct Report<'a> {
    plan: &'a Plan,
    created: &'a Created,
    output: &'a Path,
    elapsed: Duration,
}

fn report(report: &Report<'_>, as_json: bool) -> Result<(), Failure> {
    let Report {
        plan,
        created,
        output,
        elapsed,
    } = report;
    let info = &created.metainfo.info;
    let (v1, v2) = (info.info_hash_v1(), info.info_hash_v2());
    let rate = rate(plan.content_size(), *elapsed);
    if as_json {
        return print(json!({
            "name": info.name(),
            "info_hash_v1": v1.map(|hash| hash.to_string()),
            "info_hash_v2": v2.map(|hash| hash.to_string()),
            "piece_length": info.geometry().piece_length(),
            "content_size": plan.content_size(),
            "content_files": plan.content_files(),
            "output": output.to_string_lossy(),
            "magnet": created.magnet().to_string(),
            "seconds": elapsed.as_secs_f64(),
            "bytes_per_second": rate,
        }));
    }
    tell(format_args!(
        "hashed {} ({}) in {:.1} s, {:.2} GB/s",
        counted(plan.content_files(), "file", "files"),
        indicatif::DecimalBytes(plan.content_size()),
        elapsed.as_secs_f64(),
        rate / 1e9
    ));
    print(output.display())?;
    for line in [
        v1.map(|hash| format!("info-hash v1  {hash}")),
        v2.map(|hash| format!("info-hash v2  {hash}")),
    ] {
        line.map_or(Ok(()), print)?;
    }
    print(format_args!(
        "pieces        {} of {}",
        info.geometry().piece_count(),
        indicatif::BinaryBytes(info.geometry().piece_length().into())
    ))?;
    print(format_args!("magnet        {}", created.magnet()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser as _;
    use tempfile::TempDir;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        create: Args,
    }

    fn album() -> TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("Album")).unwrap();
        fs::write(root.path().join("Album/a.jpg"), "photograph").unwrap();
        root
    }

    /// Types `create ROOT/Album --output ROOT/PATH WORDS…`.
    fn create(root: &TempDir, output: &str, words: &str) -> Result<Vec<u8>, String> {
        let (album, output) = (root.path().join("Album"), root.path().join(output));
        let typed = [
            "x",
            album.to_str().unwrap(),
            "--json",
            "--output",
            output.to_str().unwrap(),
        ];
        let line = Line::try_parse_from(typed.into_iter().chain(words.split_whitespace()));
        run(line.map_err(|error| error.to_string())?.create).map_err(|failure| failure.to_string())?;
        fs::read(output).map_err(|error| error.to_string())
    }

    #[test]
    fn a_torrent_lands_where_it_should_and_leaves_nothing_else_behind() {
        let root = album();
        create(&root, "a.torrent", "").unwrap();
        let mut names: Vec<_> = fs::read_dir(root.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["Album", "a.torrent"]);
    }

    #[test]
    fn what_exists_is_replaced_only_by_force() {
        let root = album();
        let first = create(&root, "a.torrent", "").unwrap();
        let refusal = create(&root, "a.torrent", "--private").unwrap_err();
        assert!(refusal.contains("--force"), "{refusal}");
        assert_eq!(fs::read(root.path().join("a.torrent")).unwrap(), first);
        assert_ne!(create(&root, "a.torrent", "--private --force").unwrap(), first);
    }

    #[test]
    fn nothing_is_written_into_what_is_shared() {
        let root = album();
        for output in ["Album/a.torrent", "Album/../Album/b", "Album"] {
            assert!(create(&root, output, "--force").is_err(), "{output}");
        }
        assert_eq!(fs::read_dir(root.path().join("Album")).unwrap().count(), 1);
    }

    #[test]
    fn without_a_date_the_same_words_give_the_same_bytes() {
        let root = album();
        let words = "--tracker http://a/announce --comment c --no-date";
        let first = create(&root, "a.torrent", words).unwrap();
        assert_eq!(create(&root, "b.torrent", words).unwrap(), first);
        let dated = create(&root, "c.torrent", "--date").unwrap();
        assert!(dated.windows(13).any(|window| window == b"creation date"));
        assert!(!first.windows(13).any(|window| window == b"creation date"));
    }

    #[test]
    fn commas_make_a_tier_and_repetition_the_next_one() {
        let root = album();
        let bytes = create(&root, "a.torrent", "-t http://a/x,udp://b:1 -t https://c/y").unwrap();
        let metainfo = shared::metainfo::Metainfo::read(&bytes).unwrap();
        assert_eq!(
            metainfo.trackers,
            [vec!["http://a/x", "udp://b:1"], vec!["https://c/y"]]
        );
    }

    #[test]
    fn words_that_cannot_be_meant_are_refused_by_name() {
        let root = album();
        for (words, named) in [
            ("--tracker a/announce", "--tracker a/announce"),
            ("--tracker ftp://a/", "--tracker ftp://a/"),
            ("--tracker http://a/,", "--tracker"),
            ("--web-seed udp://a:1", "--web-seed udp://a:1"),
            ("--piece-length 100K", "100K"),
            ("--v1 --hybrid", "--hybrid"),
            ("--exclude a[", "a["),
        ] {
            let refusal = create(&root, "a.torrent", words).unwrap_err();
            assert!(refusal.contains(named), "{words}: {refusal}");
        }
    }
}
