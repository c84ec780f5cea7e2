//! `tracker token`: keys for programs that use the API.

use axum::http::Method;
use serde_json::json;

use super::ask::{self, State, encode};
use super::when::When;
use super::{Common, Failure};
use crate::api::{bodies, scope};
use crate::members::office::TokenCard;
use crate::members::store::Scope;
use edge::command::{print, tell};
use edge::human::{NOTHING, date_or_nothing};
use edge::output::{Facts, Table, show, show_each};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a token, and print it this once
    Create {
        name: String,
        /// What it is good for; may be repeated: read, torrents, members, or admin for everything
        #[arg(long, required = true, value_name = "SCOPE", value_delimiter = ',', value_parser = scope)]
        scope: Vec<Scope>,
        /// When it stops working: a day such as 2026-12-31, a time such as 90d, or never
        #[arg(long, value_name = "WHEN", default_value = "never")]
        expires: When,
        /// The member for whom it acts
        #[arg(long, value_name = "NAME")]
        member: Option<String>,
    },
    /// List tokens, without their text
    List,
    /// Take a token back
    Revoke {
        /// Its name or number
        name: String,
    },
}

fn scope(text: &str) -> Result<Scope, String> {
    let found = scope::ALL.into_iter().find(|scope| scope::name(*scope) == text);
    found.ok_or_else(|| "say read, torrents, members or admin".to_owned())
}

pub(super) fn run(command: Command, common: Common) -> Result<(), Failure> {
    match command {
        Command::Create {
            name,
            scope,
            expires,
            member,
        } => {
            let new = bodies::NewToken {
                name,
                scopes: scope,
                expires: expires.date("--expires")?,
                member,
            };
            ask::run(&common, State::MadeIfMissing, async |api| {
                let token = api.post("/tokens", &new).await?;
                show(common.json, token, |token| made(&token))
            })
        }
        Command::List => ask::run(&common, State::There, async |api| {
            let tokens = api.all("/tokens", "tokens", None).await?;
            show_each(common.json, tokens, list)
        }),
        Command::Revoke { name } => ask::run(&common, State::There, async |api| {
            api.send(Method::DELETE, &format!("/tokens/{}", encode(&name)))
                .await?;
            if common.json {
                return print(json!({ "revoked": name }));
            }
            tell(format_args!("token {name} is taken back"));
            Ok(())
        }),
    }
}

fn scopes(token: &TokenCard) -> String {
    let names: Vec<_> = token.scopes.iter().map(|scope| scope::name(*scope)).collect();
    names.join(", ")
}

fn made(token: &TokenCard) -> String {
    let mut facts = Facts::default();
    facts
        .add("number", token.id)
        .add("name", &token.name)
        .add_some("token", token.token.as_ref())
        .add("scopes", scopes(token))
        .add_some("member", token.member.as_ref())
        .add("expires", date_or_nothing(token.expires));
    facts.to_string()
}

fn list(tokens: Vec<TokenCard>) -> String {
    let mut table = Table::new(&[
        ">NO.",
        "NAME",
        "SCOPES",
        "MEMBER",
        "EXPIRES (UTC)",
        "LAST USED (UTC)",
    ]);
    for token in &tokens {
        let expires = if token.revoked {
            "taken back".to_owned()
        } else {
            date_or_nothing(token.expires)
        };
        table.row([
            token.id.to_string(),
            token.name.clone(),
            scopes(token),
            token.member.clone().unwrap_or_else(|| NOTHING.to_owned()),
            expires,
            date_or_nothing(token.last_used),
        ]);
    }
    table.to_string()
}
