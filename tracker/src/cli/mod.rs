//! The commands: what was typed, and what each one does. Results go to standard output, everything else to standard error.
//! Exit codes: 0 done, 1 failed, 2 wrong usage.

mod healthcheck;
mod serve;

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use tracing_subscriber::EnvFilter;

use crate::config::{self, Config, Loaded, Typed};

/// A BitTorrent tracker for the people you know: it tells peers of a swarm about each other.
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
#[derive(Debug, clap::Args)]
struct Common {
    /// A TOML file with settings; `tracker config print` shows all there are
    #[arg(long, global = true, value_name = "FILE", env = config::CONFIG_VARIABLE)]
    config: Option<PathBuf>,
    /// What to log on standard error: error, warn, info, debug, trace, or a filter such as `tracker::http=debug`
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// Print results as JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run the tracker until it is told to stop
    Serve(ServeArgs),
    /// Ask a running tracker whether it is well; exit code 0 means yes
    Healthcheck(HealthcheckArgs),
    /// Look at the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// Serve anyone and any torrent, without members
    #[arg(long)]
    public: bool,
    /// Where to answer announces and scrapes; may be repeated; port 0 picks one [default: `0.0.0.0:6969` and `[::]:6969`]
    #[arg(long, value_name = "ADDR")]
    http: Vec<SocketAddr>,
    /// Where to answer /metrics and /health; `off` is nowhere [default: 127.0.0.1:6970]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// The folder for state, made when missing [default: tracker-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct HealthcheckArgs {
    /// Where the tracker answers /health [default: as in the settings, 127.0.0.1:6970]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
}

#[derive(Clone, Copy, Debug, clap::Subcommand)]
enum ConfigCommand {
    /// Check the settings and say nothing if they are well
    Check,
    /// Print all settings as they are now, defaults included
    Print,
}

/// How a command ended, if not well.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// What was typed cannot be meant: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// What was asked for was not done: exit code 1.
    #[error("{0}")]
    Failed(String),
    /// Whoever read our results has gone away, as `head` does. Nobody is left to complain to.
    #[error("standard output was closed")]
    Closed,
}

impl Failure {
    fn usage(why: impl Display) -> Self {
        Self::Usage(why.to_string())
    }

    fn failed(why: impl Display) -> Self {
        Self::Failed(why.to_string())
    }
}

impl From<io::Error> for Failure {
    /// What went wrong with standard output.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(format!("standard output: {error}")),
        }
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
    match run(cli) {
        Ok(()) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr().lock(), "error: {failure}");
            ExitCode::from(if matches!(failure, Failure::Usage(_)) {
                2
            } else {
                1
            })
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { command, common } = cli;
    match command {
        Command::Serve(args) => serve::run(args, common),
        Command::Healthcheck(args) => healthcheck::run(args, common),
        Command::Config(command) => look_at_settings(command, &common),
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

fn look_at_settings(command: ConfigCommand, common: &Common) -> Result<(), Failure> {
    let loaded = load(common, Typed::default())?;
    for name in &loaded.unread {
        let _ = writeln!(
            io::stderr().lock(),
            "warning: nothing reads the environment variable {name}"
        );
    }
    Config::try_from(&loaded.file).map_err(Failure::usage)?;
    match command {
        ConfigCommand::Check => Ok(()),
        ConfigCommand::Print if common.json => {
            print(serde_json::to_string(&loaded.file).map_err(Failure::failed)?)
        }
        ConfigCommand::Print => write_out(loaded.file.explained().as_bytes()),
    }
}

/// The settings from all sources. A mistake in them is a mistake in what was typed.
fn load(common: &Common, typed: Typed) -> Result<Loaded, Failure> {
    let typed = Typed {
        log: common.log.clone(),
        ..typed
    };
    config::load(common.config.as_deref(), std::env::vars_os(), typed).map_err(Failure::usage)
}

/// Begins to log: in colour on a terminal, plainly elsewhere.
fn start_log(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(Failure::usage)?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    log.with_ansi(io::stderr().is_terminal()).init();
    Ok(())
}

/// Writes one line of results to standard output.
fn print(line: impl Display) -> Result<(), Failure> {
    write_out(format!("{line}\n").as_bytes())
}

fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
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
        let cli = Cli::try_parse_from(["tracker", "serve", "--public", "--json", "--log", "debug"]).unwrap();
        assert!(cli.common.json);
        assert_eq!(cli.common.log.as_deref(), Some("debug"));
    }
}
