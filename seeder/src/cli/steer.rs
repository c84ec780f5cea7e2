//! `seeder pause`, `resume`, `announce`, `recheck`: one word to one torrent, to several, or to all.

use edge::client::Payload;
use edge::output::plain;
use serde_json::json;

use super::ask::{self, Common, Held, Seeders, Which};
use super::human::hash;
use super::treatment::CheckFlag;
use super::{Failure, print, tell};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Debug, clap::Args)]
pub struct RecheckArgs {
    #[command(flatten)]
    which: Which,

    /// How much of it is hashed
    #[arg(long, value_name = "HOW", default_value = "full")]
    check: CheckFlag,

    #[command(flatten)]
    common: Common,
}

pub fn pause(args: Args) -> Result<(), Failure> {
    each(&args, "pause", "paused")
}

pub fn resume(args: Args) -> Result<(), Failure> {
    each(&args, "resume", "resumed")
}

pub fn announce(args: Args) -> Result<(), Failure> {
    each(&args, "announce", "is announced")
}

pub fn recheck(args: RecheckArgs) -> Result<(), Failure> {
    let order = Order {
        path: "recheck",
        done: "is checked; `seeder show` tells how far it is",
        body: Payload::json(&json!({ "check": args.check.word() })).map_err(ask::failure)?,
    };
    steer(&args.which, &args.common, &order)
}

fn each(args: &Args, path: &'static str, done: &'static str) -> Result<(), Failure> {
    let order = Order {
        path,
        done,
        body: Payload::Nothing,
    };
    steer(&args.which, &args.common, &order)
}

struct Order {
    path: &'static str,
    /// What became of a torrent.
    done: &'static str,
    body: Payload,
}

/// Does it to each; one that refuses does not keep the others from it.
fn steer(which: &Which, common: &Common, order: &Order) -> Result<(), Failure> {
    ask::block_on(async {
        let seeders = Seeders::find(common).await?;
        let chosen = seeders.chosen(which).await?;
        if chosen.is_empty() {
            tell("there are no torrents");
        }
        let mut failed = Vec::new();
        for held in &chosen {
            match seeders.order(&held.id(), order.path, order.body.clone()).await {
                Ok(()) => report(held, order, common.json)?,
                Err(Failure::Closed) => return Err(Failure::Closed),
                Err(error) => failed.push(format!("{}: {error}", plain(&held.torrent.name))),
            }
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(Failure::Failed(failed.join("\n       ")))
        }
    })
}

fn report(held: &Held, order: &Order, json: bool) -> Result<(), Failure> {
    let torrent = &held.torrent;
    if json {
        return print(json!({ "done": order.path, "name": torrent.name, "info_hash": hash(torrent) }));
    }
    tell(format_args!("{}: {}", plain(&torrent.name), order.done));
    Ok(())
}
