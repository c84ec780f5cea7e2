//! `tracker torrent`: the register.

use std::path::{Path, PathBuf};

use axum::http::Method;
use serde_json::json;
use url::form_urlencoded;

use super::ask::{self, Api, State, encode};
use super::when::When;
use super::{Common, Failure};
use crate::api::bodies;
use crate::members::office::{AccountCard, TariffCard, TorrentCard, TorrentReport};
use edge::command::{print, tell, write_out};
use edge::human::{NOTHING, date, duration, exact_size, short_hash, size};
use edge::output::{Facts, Table, card, plain, show, show_each};

/// The longest .torrent that is read; the tracker takes no longer one either.
const FILE_MAX: u64 = 32 * 1024 * 1024;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Register a .torrent file
    Add(AddArgs),
    /// List registered torrents, newest first
    List {
        /// Only those with this in their names, or with a hash that begins so
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Show a torrent and who gave and took what
    Show(ShowArgs),
    /// Say what a torrent's bytes count for; without a torrent, what all count for
    Set(SetArgs),
    /// Refuse a torrent from now on, with a reason that clients show
    Remove {
        /// Its info-hash, or at least the first 8 digits of it
        hash: String,
        /// One short sentence
        #[arg(long, value_name = "TEXT", default_value = "removed")]
        reason: String,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct AddArgs {
    /// The .torrent file
    file: PathBuf,
    /// Make it private: only trackers may introduce its peers. Changes the info-hash
    #[arg(long)]
    private: bool,
    /// Set its `source`. Changes the info-hash
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
    /// Words about it, for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Its info-hash, or at least the first 8 digits of it
    hash: String,
    /// Write a member's .torrent into this file, with the member's own announce URL
    #[arg(long, value_name = "FILE", requires = "member")]
    output: Option<PathBuf>,
    /// Whose .torrent
    #[arg(long = "for", value_name = "NAME", requires = "output")]
    member: Option<String>,
    /// Put in a key that is good for this torrent alone
    #[arg(long, requires = "output")]
    one_torrent_key: bool,
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("tariff").required(true).multiple(true)))]
pub(super) struct SetArgs {
    /// Its info-hash, or at least the first 8 digits of it; without, all torrents that have no tariff of their own
    hash: Option<String>,
    /// What is taken counts for nothing
    #[arg(long, group = "tariff", conflicts_with = "download_percent")]
    freeleech: bool,
    /// What a byte given counts for, in hundredths
    #[arg(long, group = "tariff", value_name = "PERCENT")]
    upload_percent: Option<u16>,
    /// What a byte taken counts for, in hundredths
    #[arg(long, group = "tariff", value_name = "PERCENT")]
    download_percent: Option<u16>,
    /// Every byte counts for one again
    #[arg(long, group = "tariff", conflicts_with_all = ["freeleech", "upload_percent", "download_percent", "until"])]
    normal: bool,
    /// When it ends: a day such as 2026-12-31, a time such as 7d, or never
    #[arg(long, value_name = "WHEN", default_value = "never")]
    until: When,
}

pub(super) fn run(command: Command, common: Common) -> Result<(), Failure> {
    match command {
        Command::Add(args) => add(args, &common),
        Command::List { search } => ask::run(&common, State::There, async |api| {
            let torrents = api.all("/torrents", "torrents", search.as_deref()).await?;
            show_each(common.json, torrents, table)
        }),
        Command::Show(args) => ask::run(&common, State::There, async |api| {
            show_one(args, api, &common).await
        }),
        Command::Set(args) => set(args, &common),
        Command::Remove { hash, reason } => ask::run(&common, State::There, async |api| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("reason", &reason);
            let path = format!("{}?{}", path(&hash), query.finish());
            let torrent = api.send(Method::DELETE, &path).await?;
            if common.json {
                return print(torrent);
            }
            tell(format_args!("{hash} is removed; clients are told: {reason}"));
            Ok(())
        }),
    }
}

fn path(hash: &str) -> String {
    format!("/torrents/{}", encode(hash))
}

fn add(args: AddArgs, common: &Common) -> Result<(), Failure> {
    let file = args.file.display();
    let bytes = read(&args.file)?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    if args.private {
        query.append_pair("private", "true");
    }
    if let Some(source) = &args.source {
        query.append_pair("source", source);
    }
    if let Some(description) = &args.description {
        query.append_pair("description", description);
    }
    let path = format!("/torrents?{}", query.finish());
    ask::run(common, State::MadeIfMissing, async |api| {
        let answer = api.register(&path, bytes.into()).await;
        // It is the file that is at fault, not what was typed.
        let torrent = answer.map_err(|failure| Failure::Failed(format!("{file}: {failure}")))?;
        warn(&card(torrent.clone())?);
        show(common.json, torrent, |torrent: TorrentCard| {
            facts(&torrent).to_string()
        })
    })
}

fn warn(torrent: &TorrentCard) {
    for warning in &torrent.warnings {
        tell(format_args!("warning: {}", plain(warning)));
    }
    if torrent.former.is_some() {
        tell(format_args!(
            "note: `tracker torrent show {} --for NAME --output FILE` writes the registered one",
            short_hash(torrent.info_hash_v1.as_deref(), torrent.info_hash_v2.as_deref())
        ));
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |why: String| Failure::Failed(format!("cannot read {}: {why}", path.display()));
    let length = std::fs::metadata(path)
        .map_err(|error| failed(error.to_string()))?
        .len();
    if length > FILE_MAX {
        return Err(failed(format!(
            "it has {length} bytes; is it a .torrent file? They have at most {FILE_MAX}"
        )));
    }
    std::fs::read(path).map_err(|error| failed(error.to_string()))
}

fn table(torrents: Vec<TorrentCard>) -> String {
    let mut table = Table::new(&[
        "HASH",
        "NAME",
        ">SIZE",
        ">FILES",
        "PRIVATE",
        "ADDED (UTC)",
        "BY",
        "",
    ]);
    for torrent in &torrents {
        table.row([
            short_hash(torrent.info_hash_v1.as_deref(), torrent.info_hash_v2.as_deref()),
            torrent.name.clone(),
            size(torrent.size),
            torrent.files.to_string(),
            yes(torrent.private),
            date(torrent.added),
            torrent.added_by.clone().unwrap_or_else(|| NOTHING.to_owned()),
            remark(torrent),
        ]);
    }
    table.to_string()
}

fn yes(is: bool) -> String {
    (if is { "yes" } else { "no" }).to_owned()
}

/// What is special about a torrent.
fn remark(torrent: &TorrentCard) -> String {
    let removed = torrent.removed_reason.as_ref();
    removed.map_or_else(
        || torrent.tariff.as_ref().map(tariff).unwrap_or_default(),
        |reason| format!("removed: {reason}"),
    )
}

fn tariff(tariff: &TariffCard) -> String {
    let until = tariff.until.map(|until| format!(" until {}", date(until)));
    let until = until.unwrap_or_default();
    match (tariff.upload_percent, tariff.download_percent) {
        (100, 0) => format!("freeleech{until}"),
        (up, down) => format!("given counts {up} %, taken {down} %{until}"),
    }
}

async fn show_one(args: ShowArgs, api: &Api, common: &Common) -> Result<(), Failure> {
    let path = path(&args.hash);
    let (Some(output), Some(member)) = (args.output, args.member) else {
        let report = api.get(&path).await?;
        return show(common.json, report, |report| self::report(&report));
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("member", &member);
    if args.one_torrent_key {
        query.append_pair("one_torrent_key", "true");
    }
    api.warn_of_guess().await?;
    let bytes = api.bytes(&format!("{path}/file?{}", query.finish())).await?;
    if output == Path::new("-") {
        return write_out(&bytes);
    }
    write_secret(&output, &bytes)
        .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", output.display())))?;
    if common.json {
        return print(json!({ "output": output, "for": member, "bytes": bytes.len() }));
    }
    tell(format_args!(
        "{} carries the key of {member}: give it to nobody else",
        output.display()
    ));
    Ok(())
}

/// A file with a key in it is its owner's alone.
fn write_secret(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

    let mut options = std::fs::File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    // It may have been there, and others' to read.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)
}

fn facts(torrent: &TorrentCard) -> Facts {
    let mut facts = Facts::default();
    facts
        .add("name", &torrent.name)
        .add_some("info-hash v1", torrent.info_hash_v1.as_ref())
        .add_some("info-hash v2", torrent.info_hash_v2.as_ref())
        .add("size", exact_size(torrent.size))
        .add("files", torrent.files)
        .add("private", yes(torrent.private))
        .add_some("source", torrent.source.as_ref())
        .add("added", date(torrent.added))
        .add_some("added by", torrent.added_by.as_ref())
        .add_some("removed", torrent.removed.map(date))
        .add_some("reason", torrent.removed_reason.as_ref())
        .add_some("tariff", torrent.tariff.as_ref().map(tariff));
    facts
}

fn report(report: &TorrentReport) -> String {
    let mut facts = facts(&report.torrent);
    facts
        .add("uploaded", exact_size(report.uploaded))
        .add("downloaded", exact_size(report.downloaded))
        .add("completed", report.completions)
        .add("seeded", duration(report.seeded_secs));
    format!("{facts}{}", accounts(&report.accounts))
}

fn accounts(accounts: &[AccountCard]) -> String {
    if accounts.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        "MEMBER",
        ">UPLOADED",
        ">DOWNLOADED",
        ">LEFT",
        ">SEEDED",
        "CLIENT",
        "LAST SEEN (UTC)",
    ]);
    for account in accounts {
        let member = if account.member.is_empty() {
            "(forgotten)"
        } else {
            &account.member
        };
        table.row([
            member.to_owned(),
            size(account.uploaded),
            size(account.downloaded),
            size(account.left),
            duration(account.seeded_secs),
            account.client.clone(),
            date(account.last_seen),
        ]);
    }
    format!("\n{table}")
}

fn set(args: SetArgs, common: &Common) -> Result<(), Failure> {
    let path = args
        .hash
        .as_ref()
        .map_or_else(|| "/tariff".to_owned(), |hash| format!("{}/tariff", path(hash)));
    let taken = if args.freeleech {
        0
    } else {
        args.download_percent.unwrap_or(100)
    };
    let tariff = bodies::NewTariff {
        upload_percent: args.upload_percent.unwrap_or(100),
        download_percent: taken,
        until: args.until.date("--until")?,
    };
    ask::run(common, State::There, async |api| {
        let what = args.hash.as_deref().unwrap_or("every torrent");
        if args.normal {
            api.send(Method::DELETE, &path).await?;
            if common.json {
                return print(json!({ "tariff": null }));
            }
            tell(format_args!("{what} has no tariff of its own any more"));
            return Ok(());
        }
        api.put(&path, &tariff).await?;
        if common.json {
            return print(json!({ "tariff": tariff }));
        }
        let card = TariffCard {
            upload_percent: tariff.upload_percent,
            download_percent: tariff.download_percent,
            until: tariff.until,
        };
        tell(format_args!("{what}: {}", self::tariff(&card)));
        Ok(())
    })
}
