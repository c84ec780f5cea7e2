//! The commands: what was typed, and what each one does with the engine and the library.
//!
//! Every command is a file with `Args` and `run(Args) -> Result<(), Failure>`. Results go to standard output through [`print()`],
//! everything else to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage.

pub mod add;
pub mod ask;
pub mod audience;
pub mod choose;
pub mod completions;
pub mod config;
pub mod create;
pub mod flags;
pub mod gauge;
pub mod get;
pub mod human;
pub mod inspect;
pub mod limit;
pub mod list;
pub mod made;
pub mod man;
pub mod progress;
pub mod qr;
pub mod reach;
pub mod remove;
pub mod run;
pub mod seed;
pub mod session;
pub mod share;
pub mod show;
pub mod steer;
pub mod top;
pub mod treatment;
pub mod verify;
pub mod web_seed;

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
pub use edge::command::{Failure, print, tell};

pub use crate::api::lines as events;
use crate::library::torrent_file::ReadError;
use crate::state::StateError;

/// What is logged where nobody says so: the commands have their own messages.
const LOG: &str = "error";

/// A full BitTorrent peer for the people you know: makes torrents, seeds them, downloads them.
#[derive(Debug, clap::Parser)]
#[command(
    name = "seeder",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// What to log on standard error beside the command's own messages: error, warn, info, debug, trace, or a filter such as
    /// `seeder::net=debug` [default: error; of `run`: as in the settings]
    #[arg(long, global = true, value_name = "FILTER", env = "SEEDER__LOG")]
    log: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Share files or folders: make their torrents, seed them, print links for friends
    Share(share::Args),
    /// Make a torrent of a file or folder
    Create(create::Args),
    /// Seed torrents whose content is there already
    Seed(seed::Args),
    /// Download a torrent
    Get(get::Args),
    /// Compare the content on a disk with its torrent
    Verify(verify::Args),
    /// Show what a torrent or a magnet link says
    Inspect(inspect::Args),
    /// Run until told to stop, with the torrents that `seeder add` brings
    Run(run::Args),
    /// Look at the settings of `seeder run`
    Config(config::Args),
    /// List the torrents of a running seeder
    List(list::Args),
    /// Show all that is known of one torrent of a running seeder
    Show(show::Args),
    /// Watch a running seeder: torrents, peers, pieces and rates
    Top(top::Args),
    /// Give torrents to a running seeder
    Add(add::Args),
    /// Take torrents from a running seeder; what is on disk stays
    Remove(remove::Args),
    /// Let torrents of a running seeder rest
    Pause(steer::Args),
    /// Let torrents that rest go on
    Resume(steer::Args),
    /// Hash what is on disk anew
    Recheck(steer::RecheckArgs),
    /// Tell the trackers now that we are there, and ask for peers
    Announce(steer::Args),
    /// Bound how fast and how long a running seeder gives and takes
    Limit(limit::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Print the manual page
    Man(man::Args),
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::failed(error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::failed(error)
    }
}

/// The whole program: reads what was typed, does it, says how it ended.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version arrive here too, with code 0. A closed pipe is nobody's fault.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = start_log(cli.log.as_deref().unwrap_or(LOG)).and_then(|()| {
        warn_of_unread_variables();
        run(cli.command, cli.log)
    });
    edge::command::ended(done)
}

fn run(command: Command, log: Option<String>) -> Result<(), Failure> {
    match command {
        Command::Share(args) => share::run(args),
        Command::Create(args) => create::run(args),
        Command::Seed(args) => seed::run(args),
        Command::Get(args) => get::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Run(args) => run::run(args, log),
        Command::Config(args) => config::run(args),
        Command::List(args) => list::run(args),
        Command::Show(args) => show::run(args),
        Command::Top(args) => top::run(args),
        Command::Add(args) => add::run(args),
        Command::Remove(args) => remove::run(args),
        Command::Pause(args) => steer::pause(args),
        Command::Resume(args) => steer::resume(args),
        Command::Recheck(args) => steer::recheck(args),
        Command::Announce(args) => steer::announce(args),
        Command::Limit(args) => limit::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}

fn start_log(filter: &str) -> Result<(), Failure> {
    edge::log::start(filter).map_err(|error| {
        Failure::Usage(format!(
            "--log {filter}: {error}; say error, warn, info, debug, trace or target=level"
        ))
    })
}

/// A misspelt variable must not become a default in silence.
fn warn_of_unread_variables() {
    let known = known_variables(&Cli::command());
    for (name, _) in std::env::vars_os() {
        if let Some(name) = name.to_str().filter(|name| {
            name.starts_with("SEEDER__") && !known.contains(*name) && !crate::config::reads(name)
        }) {
            tell(format_args!(
                "warning: nothing reads the environment variable {name}"
            ));
        }
    }
}

fn known_variables(command: &clap::Command) -> BTreeSet<String> {
    let arguments = command
        .get_arguments()
        .chain(command.get_subcommands().flat_map(clap::Command::get_arguments));
    arguments
        .filter_map(|argument| Some(argument.get_env()?.to_str()?.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_variable_that_a_flag_reads_is_known() {
        assert!(known_variables(&Cli::command()).contains("SEEDER__LOG"));
    }
}
