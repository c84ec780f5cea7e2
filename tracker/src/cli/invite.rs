//! `tracker invite`: invitations, and who came by them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use axum::http::Method;
use serde_json::json;

use super::ask::{self, Api, State};
use super::when::When;
use super::{Common, Failure};
use crate::api::bodies::{self, PolicyCard};
use crate::api::table::PREFIX;
use crate::members::office::{InvitationCard, MemberCard};
use edge::command::{print, tell, write_out};
use edge::human::{NOTHING, date_or_nothing};
use edge::output::{Facts, Table, card, plain, show, show_each};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make an invitation, and print its code; whoever brings it becomes a member
    Create {
        /// How many may come with it
        #[arg(long, default_value_t = 1, value_name = "COUNT")]
        uses: u32,
        /// When it ends: a day such as 2026-12-31, a time such as 7d, or never
        #[arg(long, value_name = "WHEN", default_value = "7d")]
        expires: When,
        /// The member who invites; the owner, where nobody is named
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// A word for your memory
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// List invitations, and the tree of who invited whom
    List,
    /// Take an invitation back
    Revoke {
        /// Its number, as `invite list` shows it
        id: i64,
    },
}

pub(super) fn run(command: Command, common: Common) -> Result<(), Failure> {
    match command {
        Command::Create {
            uses,
            expires,
            by,
            note,
        } => {
            let new = bodies::NewInvitation {
                uses: Some(uses),
                expires: expires.date("--expires")?,
                by,
                note,
            };
            ask::run(&common, State::MadeIfMissing, async |api| {
                let invitation = api.post("/invitations", &new).await?;
                let policy: PolicyCard = card(api.get("/policy").await?)?;
                api.warn_of_guess().await?;
                show(common.json, invitation, |invitation| made(&invitation, &policy))
            })
        }
        Command::List => ask::run(&common, State::There, async |api| list(api, &common).await),
        Command::Revoke { id } => ask::run(&common, State::There, async |api| {
            api.send(Method::DELETE, &format!("/invitations/{id}")).await?;
            if common.json {
                return print(json!({ "revoked": id }));
            }
            tell(format_args!("invitation {id} is taken back"));
            Ok(())
        }),
    }
}

fn made(invitation: &InvitationCard, policy: &PolicyCard) -> String {
    let mut facts = Facts::default();
    facts
        .add("number", invitation.id)
        .add_some("code", invitation.code.as_ref())
        .add("for", people(invitation.uses))
        .add("expires", date_or_nothing(invitation.expires));
    let code = invitation.code.as_deref().unwrap_or_default();
    format!(
        "{facts}\nWhoever has the code becomes a member with\n\n  {}\n",
        redeem_line(policy.base(), "invitations/redeem", code)
    )
}

/// The line that redeems a code.
pub(super) fn redeem_line(base: &str, route: &str, code: &str) -> String {
    let body = json!({ "code": code, "name": "NAME" });
    format!("curl -H 'content-type: application/json' -d '{body}' {base}{PREFIX}/{route}")
}

fn people(count: u32) -> String {
    match count {
        1 => "one member".to_owned(),
        count => format!("{count} members"),
    }
}

async fn list(api: &Api, common: &Common) -> Result<(), Failure> {
    let invitations = api.all("/invitations", "invitations", None).await?;
    if common.json {
        return show_each::<InvitationCard>(true, invitations, |_| String::new());
    }
    let invitations: Vec<InvitationCard> = card(invitations)?;
    let members: Vec<MemberCard> = card(api.all("/members", "members", None).await?)?;
    write_out(format!("{}{}", table(&invitations), tree(&members)).as_bytes())
}

fn table(invitations: &[InvitationCard]) -> Table {
    let mut table = Table::new(&[">NO.", "BY", ">USED", "EXPIRES (UTC)", "NOTE", "CAME"]);
    for invitation in invitations {
        let expires = if invitation.revoked {
            "taken back".to_owned()
        } else {
            date_or_nothing(invitation.expires)
        };
        table.row([
            invitation.id.to_string(),
            invitation.by.clone().unwrap_or_else(|| NOTHING.to_owned()),
            format!("{}/{}", invitation.used, invitation.uses),
            expires,
            invitation.note.clone(),
            invitation.members.join(", "),
        ]);
    }
    table
}

/// Who invited whom, drawn; nothing where nobody was invited.
fn tree(members: &[MemberCard]) -> String {
    let mut guests: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for member in members {
        if let Some(by) = member.invited_by.as_deref() {
            guests.entry(by).or_default().push(&member.name);
        }
    }
    let invited: BTreeSet<&str> = guests.values().flatten().copied().collect();
    let mut out = String::new();
    for host in guests.keys().filter(|host| !invited.contains(*host)) {
        let _ = writeln!(out, "\n{}", plain(host));
        branches(host, &guests, "", &mut out);
    }
    out
}

/// The guests of `host`, and theirs. Nobody can invite an inviter of theirs, so this ends; names are members', few and short.
fn branches(host: &str, guests: &BTreeMap<&str, Vec<&str>>, indent: &str, out: &mut String) {
    let Some((last, others)) = guests.get(host).and_then(|guests| guests.split_last()) else {
        return;
    };
    for guest in others {
        let _ = writeln!(out, "{indent}├── {}", plain(guest));
        branches(guest, guests, &format!("{indent}│   "), out);
    }
    let _ = writeln!(out, "{indent}└── {}", plain(last));
    branches(last, guests, &format!("{indent}    "), out);
}
