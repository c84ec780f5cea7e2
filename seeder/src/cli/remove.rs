//! `seeder remove TORRENT`: it is forgotten; what is on disk stays, unless somebody says twice that it shall not.

use std::io::{self, BufRead as _, IsTerminal as _};

use edge::output::plain;
use serde_json::json;

use super::ask::{self, Common, Held, Seeders, Which};
use super::human::hash;
use super::{Failure, print, tell};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,

    /// Delete what was downloaded, too; what is only seeded is never deleted
    #[arg(long)]
    delete_content: bool,

    /// Do not ask whether that is meant
    #[arg(long, requires = "delete_content")]
    yes: bool,

    #[command(flatten)]
    common: Common,
}

pub fn run(args: Args) -> Result<(), Failure> {
    if args.delete_content && !args.yes && !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "--delete-content deletes files for good; say --yes too, if that is meant",
        ));
    }
    ask::block_on(async {
        let seeders = Seeders::find(&args.common).await?;
        let chosen = seeders.chosen(&args.which).await?;
        if args.delete_content && !args.yes && !is_meant(&chosen)? {
            return Err(Failure::failed("nothing is removed"));
        }
        for held in &chosen {
            seeders.remove(&held.id(), args.delete_content).await?;
            report(held, &args)?;
        }
        Ok(())
    })
}

/// Asks the person at the terminal.
fn is_meant(chosen: &[Held]) -> Result<bool, Failure> {
    for held in chosen {
        let torrent = &held.torrent;
        let path = torrent.root.join(&torrent.name);
        tell(format_args!(
            "{}  {}",
            plain(&torrent.name),
            plain(&path.display().to_string())
        ));
    }
    tell("Delete these files for good? Type yes:");
    let mut typed = String::new();
    io::stdin()
        .lock()
        .read_line(&mut typed)
        .map_err(Failure::failed)?;
    Ok(typed.trim().eq_ignore_ascii_case("yes"))
}

fn report(held: &Held, args: &Args) -> Result<(), Failure> {
    let torrent = &held.torrent;
    if args.common.json {
        return print(json!({
            "done": "remove",
            "name": torrent.name,
            "info_hash": hash(torrent),
            "content_deleted": args.delete_content,
        }));
    }
    let content = if args.delete_content {
        "its content is deleted".to_owned()
    } else {
        format!("its content stays in {}", torrent.root.display())
    };
    tell(format_args!(
        "{}: removed; {}",
        plain(&torrent.name),
        plain(&content)
    ));
    Ok(())
}
