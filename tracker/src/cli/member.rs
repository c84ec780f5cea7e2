//! `tracker member`: who may announce.

use std::io::{self, IsTerminal as _, Write as _};

use axum::http::Method;
use serde::Serialize;
use serde_json::json;

use super::ask::{self, State, encode};
use super::when::{Length, When};
use super::{Common, Failure};
use crate::api::bodies;
use crate::members::office::{AccountCard, MarkCard, MemberCard, MemberReport, MemberState};
use crate::members::store::{Kind, Role};
use edge::command::{print, tell};
use edge::human::{NOTHING, date, date_or_nothing, duration, exact_size, ratio, short_hash, size};
use edge::output::{Facts, Table, show, show_each};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Add a member, and print its passkey and announce URL
    Add {
        /// What to call it; only the owner sees it
        name: String,
        /// An owner: ends the one-time code of the first start, and is changed by admins alone
        #[arg(long)]
        owner: bool,
        /// When the key stops working: a day such as 2026-12-31, a time such as 90d, or never
        #[arg(long, value_name = "WHEN")]
        expires: Option<When>,
    },
    /// List all members with what they gave and took
    List,
    /// Show everything about a member: numbers, torrents, marks, alarms, the announce URL
    Show { name: String },
    /// Give a member a new key; the old one goes on working for a while
    Rotate {
        name: String,
        /// How long the old key works, such as 7d; 0 ends it at once [default: as in the settings, 7d]
        #[arg(long, value_name = "TIME")]
        grace: Option<Length>,
    },
    /// Refuse a member's announces, with a reason that its client shows
    Disable {
        name: String,
        /// One short sentence
        #[arg(long, value_name = "TEXT", default_value = "ask the owner")]
        reason: String,
    },
    /// Answer a member's announces again
    Enable { name: String },
    /// Say when a member's key stops working
    Expire {
        name: String,
        /// A day such as 2026-12-31, a time such as 90d, or never
        when: When,
    },
    /// Erase a person: name, key, addresses, sessions; the torrents' sums stay
    Forget {
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub(super) fn run(command: Command, common: Common) -> Result<(), Failure> {
    match command {
        Command::Add { name, owner, expires } => add(name, owner, expires, &common),
        Command::List => ask::run(&common, State::There, async |api| {
            let members = api.all("/members", "members", None).await?;
            show_each(common.json, members, list)
        }),
        Command::Show { name } => ask::run(&common, State::There, async |api| {
            let report = api.get(&path(&name, "")).await?;
            api.warn_of_guess().await?;
            show(common.json, report, |report| self::report(&report))
        }),
        Command::Rotate { name, grace } => {
            let grace_secs = grace.map(|grace| grace.0.as_secs());
            change(&name, "/rotate", &bodies::Rotate { grace_secs }, &common)
        }
        Command::Disable { name, reason } => change(&name, "/disable", &bodies::Disable { reason }, &common),
        Command::Enable { name } => change(&name, "/enable", &json!({}), &common),
        Command::Expire { name, when } => {
            let expires = when.date("WHEN")?;
            change(&name, "/expire", &bodies::Expire { expires }, &common)
        }
        Command::Forget { name, yes } => forget(&name, yes, &common),
    }
}

fn path(name: &str, below: &str) -> String {
    format!("/members/{}{below}", encode(name))
}

fn add(name: String, owner: bool, expires: Option<When>, common: &Common) -> Result<(), Failure> {
    let new = bodies::NewMember {
        name,
        role: if owner { Role::Owner } else { Role::Member },
        kind: Kind::Member,
        torrent: None,
        expires: expires.map_or(Ok(None), |when| when.date("--expires"))?,
    };
    ask::run(common, State::MadeIfMissing, async |api| {
        let member = api.post("/members", &new).await?;
        api.warn_of_guess().await?;
        show(common.json, member, |member| brief(&member))
    })
}

/// Does something to one member, and shows what became of it.
fn change(name: &str, what: &str, body: &impl Serialize, common: &Common) -> Result<(), Failure> {
    ask::run(common, State::There, async |api| {
        let member = api.post(&path(name, what), body).await?;
        api.warn_of_guess().await?;
        show(common.json, member, |member| brief(&member))
    })
}

fn forget(name: &str, yes: bool, common: &Common) -> Result<(), Failure> {
    if !yes && !is_meant(name)? {
        return Err(Failure::Failed(format!("{name} is not forgotten")));
    }
    ask::run(common, State::There, async |api| {
        api.send(Method::DELETE, &path(name, "")).await?;
        if common.json {
            return print(json!({ "forgotten": name }));
        }
        tell(format_args!("{name} is forgotten"));
        Ok(())
    })
}

/// Asks the person at the terminal. Where there is none, it must have been said before.
fn is_meant(name: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::Usage(format!(
            "forgetting {name} cannot be undone and nobody is here to ask; say --yes"
        )));
    }
    let mut err = io::stderr().lock();
    let _ = write!(
        err,
        "Erase {name} with key, sessions and numbers? This cannot be undone. [y/N] "
    );
    let _ = err.flush();
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Failure::Failed(format!("standard input: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What one needs to hand on.
fn brief(member: &MemberCard) -> String {
    let mut facts = Facts::default();
    facts.add("name", &member.name);
    if member.role == Role::Owner {
        facts.add("role", "owner");
    }
    if member.state != MemberState::Active {
        facts.add("state", state(member));
    }
    facts
        .add_some("passkey", member.passkey.as_ref())
        .add_some("announce URL", member.announce_url.as_ref())
        .add_some("expires", member.expires.map(date))
        .add_some("old key works until", member.old_key_until.map(date));
    facts.to_string()
}

fn state(member: &MemberCard) -> String {
    let reason = member.disabled_reason.as_deref();
    match member.state {
        MemberState::Active => "active".to_owned(),
        MemberState::Expired => "expired".to_owned(),
        MemberState::Disabled => {
            reason.map_or_else(|| "disabled".to_owned(), |reason| format!("disabled: {reason}"))
        }
    }
}

fn list(members: Vec<MemberCard>) -> String {
    let mut table = Table::new(&[
        "NAME",
        "ROLE",
        "STATE",
        ">UPLOADED",
        ">DOWNLOADED",
        ">RATIO",
        "LAST SEEN (UTC)",
        "",
    ]);
    for member in &members {
        let role = if member.role == Role::Owner {
            "owner"
        } else {
            "member"
        };
        let alarm = if member.alarm {
            "key seen in too many networks"
        } else {
            ""
        };
        table.row([
            member.name.clone(),
            role.to_owned(),
            state(member),
            size(member.uploaded),
            size(member.downloaded),
            ratio(member.upload_credit, member.download_charge),
            date_or_nothing(member.last_seen),
            alarm.to_owned(),
        ]);
    }
    table.to_string()
}

fn report(report: &MemberReport) -> String {
    let member = &report.member;
    let mut facts = Facts::default();
    facts
        .add("name", &member.name)
        .add(
            "role",
            if member.role == Role::Owner {
                "owner"
            } else {
                "member"
            },
        )
        .add("state", state(member))
        .add_some("passkey", member.passkey.as_ref())
        .add_some("announce URL", member.announce_url.as_ref())
        .add_some("old key works until", member.old_key_until.map(date))
        .add_some("expires", member.expires.map(date))
        .add("member since", date(member.created))
        .add_some("invited by", member.invited_by.as_ref())
        .add("last seen", date_or_nothing(member.last_seen))
        .add("uploaded", exact_size(member.uploaded))
        .add("downloaded", exact_size(member.downloaded));
    let charged = (member.upload_credit, member.download_charge);
    if charged != (member.uploaded, member.downloaded) {
        facts
            .add("counted as given", exact_size(charged.0))
            .add("counted as taken", exact_size(charged.1));
    }
    facts
        .add("ratio", ratio(charged.0, charged.1))
        .add("seeded", duration(report.seeded_secs))
        .add("completed", report.completions)
        .add("networks", member.networks);
    if !report.invited.is_empty() {
        facts.add("has invited", report.invited.join(", "));
    }
    for warning in &report.warnings {
        facts.add("warning", warning);
    }
    format!("{facts}{}{}", torrents(&report.torrents), marks(&report.marks))
}

fn torrents(accounts: &[AccountCard]) -> String {
    if accounts.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        "TORRENT",
        "HASH",
        ">UPLOADED",
        ">DOWNLOADED",
        ">LEFT",
        ">SEEDED",
        "CLIENT",
        "LAST SEEN (UTC)",
    ]);
    for account in accounts {
        table.row([
            account.torrent.clone(),
            short_hash(account.info_hash_v1.as_deref(), account.info_hash_v2.as_deref()),
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

fn marks(marks: &[MarkCard]) -> String {
    if marks.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["MARK", "WHEN (UTC)", "TORRENT", "EVIDENCE"]);
    for mark in marks {
        table.row([
            mark.kind.clone(),
            date(mark.date),
            mark.torrent.clone().unwrap_or_else(|| NOTHING.to_owned()),
            mark.evidence.clone(),
        ]);
    }
    format!("\n{table}")
}
