//! `tracker config`: looks at the settings.

use super::{Common, Failure};
use crate::config::Typed;
use edge::command::{print, tell, write_out};

#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check the settings and say nothing if they are well
    Check,
    /// Print all settings as they are now, each with its explanation
    Print,
}

pub(super) fn run(command: Command, common: &Common) -> Result<(), Failure> {
    let (loaded, _) = common.load(Typed::default())?;
    for name in &loaded.unread {
        tell(format_args!(
            "warning: nothing reads the environment variable {name}"
        ));
    }
    match command {
        Command::Check => Ok(()),
        Command::Print if common.json => print(serde_json::to_string(&loaded.file).map_err(Failure::failed)?),
        Command::Print => write_out(loaded.file.explained().as_bytes()),
    }
}
