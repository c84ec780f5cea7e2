//! The commands: what was typed, and what each one does. Results go to standard output, everything else to standard error.
//! Exit codes: 0 done, 1 failed, 2 wrong usage.

mod ask;
mod backup;
mod healthcheck;
mod invite;
mod member;
mod reload;
mod serve;
mod settings;
mod token;
mod torrent;
mod trace;
mod when;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::config::{self, Config, Loaded, Origin, Typed};
use edge::command::{Failure, ended, write_out};

/// A BitTorrent tracker for the people you know: it tells peers of a swarm about each other, and counts who gives what.
#[derive(Debug, clap::Parser)]
#[command(
    name = "tracker",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// Flags of every command.
#[derive(Clone, Debug, Default, clap::Args)]
struct Common {
    /// A TOML file with settings; `tracker config print` shows all there are
    #[arg(long, global = true, value_name = "FILE", env = config::CONFIG_VARIABLE)]
    config: Option<PathBuf>,
    /// The folder for state, made when missing [default: tracker-data]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What to log on standard error: error, warn, info, debug, trace, or a filter such as `tracker::http=debug`
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// Print results as JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run the tracker until it is told to stop; SIGHUP reads the settings again
    Serve(serve::Args),
    /// Who may announce: add, list, show, rotate, disable, enable, expire, forget
    #[command(subcommand)]
    Member(member::Command),
    /// Invitations: create, list, revoke
    #[command(subcommand)]
    Invite(invite::Command),
    /// The register of torrents: add, list, show, set, remove
    #[command(subcommand)]
    Torrent(torrent::Command),
    /// Tokens for programs that use the API: create, list, revoke
    #[command(subcommand)]
    Token(token::Command),
    /// Watch one member's announces: time, client, torrent, what was answered and why
    Trace(trace::Args),
    /// Let the running tracker read its settings again
    Reload,
    /// Write everything into one file, while the tracker runs or not
    Backup(backup::Args),
    /// Ask a running tracker whether it is well; exit code 0 means yes
    Healthcheck(healthcheck::Args),
    /// Look at the settings
    #[command(subcommand)]
    Config(settings::Command),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
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
    ended(run(cli))
}

fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { command, common } = cli;
    match command {
        Command::Serve(args) => serve::run(args, common),
        Command::Member(command) => member::run(command, common),
        Command::Invite(command) => invite::run(command, common),
        Command::Torrent(command) => torrent::run(command, common),
        Command::Token(command) => token::run(command, common),
        Command::Trace(args) => trace::run(args, common),
        Command::Reload => reload::run(common),
        Command::Backup(args) => backup::run(args, common),
        Command::Healthcheck(args) => healthcheck::run(args, common),
        Command::Config(command) => settings::run(command, &common),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tracker", &mut script);
            write_out(&script)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            write_out(&page)
        }
    }
}

impl Common {
    /// Where this command's settings come from; `typed` are its own flags.
    fn origin(&self, typed: Typed) -> Origin {
        Origin {
            path: self.config.clone(),
            typed: Typed {
                data: self.data.clone(),
                log: self.log.clone(),
                ..typed
            },
        }
    }

    /// The settings from all sources. A mistake in them is a mistake in what was typed.
    fn load(&self, typed: Typed) -> Result<(Loaded, Config), Failure> {
        let loaded = self.origin(typed).load().map_err(Failure::usage)?;
        let config = Config::try_from(&loaded.file).map_err(Failure::usage)?;
        Ok((loaded, config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_every_command_may_stand_behind_it() {
        let typed = [
            "tracker", "serve", "--public", "--json", "--log", "debug", "--data", "d",
        ];
        let cli = Cli::try_parse_from(typed).unwrap();
        assert!(cli.common.json);
        assert_eq!(cli.common.log.as_deref(), Some("debug"));
        assert_eq!(cli.common.data, Some(PathBuf::from("d")));
    }

    #[test]
    fn every_promised_command_is_there() {
        for typed in [
            "serve",
            "member add anna",
            "member list",
            "member show anna",
            "member rotate anna",
            "member disable anna --reason x",
            "member enable anna",
            "member forget anna",
            "invite create",
            "invite list",
            "invite revoke 1",
            "torrent add a.torrent",
            "torrent list",
            "torrent show 00",
            "torrent remove 00",
            "token create bot --scope read",
            "token list",
            "token revoke bot",
            "trace anna",
            "reload",
            "backup file",
            "config check",
            "config print",
            "healthcheck",
            "completions bash",
            "man",
        ] {
            let words = ["tracker"].into_iter().chain(typed.split(' ')).chain(["--json"]);
            assert!(Cli::try_parse_from(words).is_ok(), "{typed}");
        }
    }
}
