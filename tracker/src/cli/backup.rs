//! `tracker backup`: all that must not be lost, in one file.

use std::path::PathBuf;

use super::ask::{self, State};
use super::{Common, Failure};
use crate::api::bodies::{self, BackupCard};
use edge::human::size;
use edge::output::{plain, show};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to write; it must not exist yet
    file: PathBuf,
}

pub(super) fn run(args: Args, common: Common) -> Result<(), Failure> {
    // The tracker may stand in another folder than we do.
    let path = std::path::absolute(&args.file)
        .map_err(|error| Failure::Usage(format!("{}: {error}", args.file.display())))?;
    let Some(path) = path.to_str() else {
        let path = path.display();
        return Err(Failure::Usage(format!(
            "{path} is not UTF-8; choose another name"
        )));
    };
    let body = bodies::Backup {
        path: path.to_owned(),
    };
    ask::run(&common, State::There, async |api| {
        show(common.json, api.post("/backup", &body).await?, |card| {
            words(&card)
        })
    })
}

fn words(card: &BackupCard) -> String {
    format!(
        "{} ({}) is written. It holds everything, also the secret that all keys are made from: keep it as safe as the tracker.\n\
         To go back to it, put it as tracker.sqlite into an empty folder and start a tracker there.\n",
        plain(&card.path),
        size(card.bytes)
    )
}
