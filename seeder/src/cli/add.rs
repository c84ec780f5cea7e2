//! `seeder add FILE|MAGNET…`: gives torrents to a running seeder, to be fetched into a folder or seeded from one.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use edge::client::Payload;
use edge::output::plain;
use shared::magnet::Magnet;
use shared::metainfo::Info;
use url::form_urlencoded;

use super::ask::{self, Common, Seeders};
use super::treatment::{CheckFlag, GiveFlags, WishFlags};
use super::{Failure, print, tell};
use crate::api::bodies::{Added, HowToAdd, HowToCheck, NewTorrent, Treatment};
use crate::library::torrent_file::read_torrent;
use crate::torrent::{Priority, Wishes};

#[derive(Clone, Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["into", "content"])))]
pub struct Args {
    /// .torrent files or magnet links
    #[arg(required = true, value_name = "FILE|MAGNET")]
    torrents: Vec<String>,

    /// Fetch them into this folder; made when missing
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,

    /// Seed them from this folder, which holds each torrent's own file or folder; nothing is ever written to it
    #[arg(long, value_name = "DIR", conflicts_with_all = ["only", "sequential"])]
    content: Option<PathBuf>,

    /// Let them rest until they are resumed
    #[arg(long)]
    paused: bool,

    /// How much of what is there is hashed before it is believed [default: as in the seeder's settings]
    #[arg(long, value_name = "HOW")]
    check: Option<CheckFlag>,

    /// Hand out each piece once before any twice, while nobody else has it all
    #[arg(long)]
    super_seed: bool,

    #[command(flatten)]
    wishes: WishFlags,

    #[command(flatten)]
    give: GiveFlags,

    #[command(flatten)]
    common: Common,
}

pub fn run(args: Args) -> Result<(), Failure> {
    args.wishes.check()?;
    // What cannot be read is said before anything is added.
    let sources = args
        .torrents
        .iter()
        .map(|typed| Source::read(typed, &args))
        .collect::<Result<Vec<_>, _>>()?;
    let (root, mode) = place(&args)?;
    ask::block_on(async {
        let seeders = Seeders::find(&args.common).await?;
        let taker = seeders.taker().await?;
        let to = (&seeders, taker.process);
        for source in sources {
            let added = source.add(&args, to, &root, mode).await?;
            report(&added, &args)?;
        }
        if !taker.remembers {
            tell(format_args!(
                "note: process {} forgets it when it ends; `seeder run` would remember it",
                taker.pid
            ));
        }
        Ok(())
    })
}

/// The folder of the content, from the root of the file system on, since the seeder stands elsewhere.
fn place(args: &Args) -> Result<(PathBuf, HowToAdd), Failure> {
    let (flag, folder, mode) = match (&args.into, &args.content) {
        (Some(into), _) => ("--into", into, HowToAdd::Get),
        (None, Some(content)) => ("--content", content, HowToAdd::Seed),
        (None, None) => return Err(Failure::usage("say --into DIR or --content DIR")),
    };
    let ready = match mode {
        HowToAdd::Get => fs::create_dir_all(folder),
        HowToAdd::Seed => Ok(()),
    };
    let root = ready.and_then(|()| folder.canonicalize());
    root.map(|root| (root, mode))
        .map_err(|error| Failure::Failed(format!("{flag} {}: {error}", folder.display())))
}

/// What was typed, read and found good.
enum Source {
    Link(String),
    File { bytes: Bytes, only: Option<String> },
}

impl Source {
    fn read(typed: &str, args: &Args) -> Result<Self, Failure> {
        let is_link = typed
            .get(..7)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("magnet:"));
        if is_link {
            typed.parse::<Magnet>().map_err(Failure::usage)?;
            if !args.wishes.only.is_empty() {
                return Err(Failure::usage(
                    "--only needs to know the files, and a magnet link does not name them; add the .torrent, or a link \
                     with their numbers, such as so=0,2-5",
                ));
            }
            return Ok(Self::Link(typed.to_owned()));
        }
        let file = Path::new(typed);
        let metainfo = read_torrent(file)?;
        let bytes =
            fs::read(file).map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
        Ok(Self::File {
            bytes: bytes.into(),
            only: selection(&metainfo.info, &args.wishes)?,
        })
    }

    async fn add(
        self,
        args: &Args,
        (seeders, process): (&Seeders, usize),
        root: &Path,
        mode: HowToAdd,
    ) -> Result<Added, Failure> {
        match self {
            Self::Link(magnet) => {
                let body = NewTorrent {
                    magnet: Some(magnet),
                    root: Some(root.to_owned()),
                    mode,
                    paused: args.paused,
                    check: args.check.map(how_to_check),
                    options: treatment(args, None),
                    ..NewTorrent::default()
                };
                let body = Payload::json(&body).map_err(ask::failure)?;
                seeders.post(process, "/torrents", body).await
            }
            Self::File { bytes, only } => {
                let options = serde_json::to_string(&treatment(args, only)).map_err(Failure::failed)?;
                let mut query = form_urlencoded::Serializer::new(String::new());
                let Some(root) = root.to_str() else {
                    let why = "the folder's name is not UTF-8, which the API cannot carry; rename it";
                    return Err(Failure::Failed(format!("{}: {why}", root.display())));
                };
                query
                    .append_pair("root", root)
                    .append_pair("mode", if mode == HowToAdd::Get { "get" } else { "seed" })
                    .append_pair("paused", if args.paused { "true" } else { "false" })
                    .append_pair("options", &options);
                if let Some(check) = args.check {
                    query.append_pair("check", check.word());
                }
                let path = format!("/torrents?{}", query.finish());
                seeders.post(process, &path, Payload::Torrent(bytes)).await
            }
        }
    }
}

/// The numbers of the files that are wanted; none where all are.
fn selection(info: &Info, flags: &WishFlags) -> Result<Option<String>, Failure> {
    Ok(selected(&flags.wishes(info)?))
}

/// The numbers as the API and links have them: `0,2-5`.
fn selected(wishes: &Wishes) -> Option<String> {
    if wishes.files.is_empty() {
        return None;
    }
    let wanted = wishes
        .files
        .iter()
        .enumerate()
        .filter(|(_, priority)| **priority != Priority::Skip);
    let wanted: Vec<usize> = wanted.map(|(file, _)| file).collect();
    let runs = wanted.chunk_by(|file, next| file + 1 == *next).filter_map(|run| {
        let (first, last) = (run.first()?, run.last()?);
        Some(if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        })
    });
    Some(runs.collect::<Vec<_>>().join(","))
}

fn treatment(args: &Args, only: Option<String>) -> Treatment {
    let (limits, goals) = (args.give.speed.limits(), args.give.goals.goals());
    Treatment {
        only: only.map(Some),
        sequential: args.wishes.sequential.then_some(true),
        super_seed: args.super_seed.then_some(true),
        upload: limits.upload.map(Some),
        download: limits.download.map(Some),
        ratio: goals.ratio.map(Some),
        seed_seconds: goals.time.map(|time| Some(time.as_secs())),
        copies: goals.copies.map(Some),
        ..Treatment::default()
    }
}

fn how_to_check(flag: CheckFlag) -> HowToCheck {
    match flag {
        CheckFlag::Lazy => HowToCheck::Lazy,
        CheckFlag::Quick => HowToCheck::Quick,
        CheckFlag::Full => HowToCheck::Full,
    }
}

fn report(added: &Added, args: &Args) -> Result<(), Failure> {
    if args.common.json {
        return print(serde_json::to_string(added).map_err(Failure::failed)?);
    }
    let hash = added.info_hash_v1.as_deref().or(added.info_hash_v2.as_deref());
    let hash: String = hash.unwrap_or_default().chars().take(12).collect();
    tell(format_args!("{}: added; {hash} names it", plain(&added.name)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_files_are_told_by_their_numbers() {
        let wishes = |drawing: &str| Wishes {
            files: drawing
                .chars()
                .map(|sign| {
                    if sign == 'x' {
                        Priority::Normal
                    } else {
                        Priority::Skip
                    }
                })
                .collect(),
            sequential: false,
        };
        assert_eq!(selected(&wishes("x.xxx.")).as_deref(), Some("0,2-4"));
        assert_eq!(selected(&wishes("")), None);
    }
}
