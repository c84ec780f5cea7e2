//! `seeder config`: looks at the settings.

use std::path::PathBuf;

use edge::command::{print, write_out};
use edge::settings::Loaded;

use super::Failure;
use crate::config::{self, CONFIG_VARIABLE, Config, File};

/// Look at the settings of `seeder run`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    file: FileFlag,

    /// Print one JSON object
    #[arg(long, global = true)]
    json: bool,
}

/// Where settings are read.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FileFlag {
    /// A TOML file with settings; `seeder config print` shows all there are
    #[arg(long, global = true, value_name = "FILE", env = CONFIG_VARIABLE)]
    pub config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::Subcommand)]
enum Command {
    /// Check the settings and say nothing if they are well
    Check,
    /// Print all settings as they are now, each with its explanation
    Print,
}

impl FileFlag {
    /// The settings from the file and the environment. A mistake in them is a mistake in what was typed.
    pub fn load(&self) -> Result<(File, Config), Failure> {
        // Every command tells of variables that nothing reads.
        let Loaded { file, .. } =
            config::load(self.config.as_deref(), std::env::vars_os()).map_err(Failure::usage)?;
        let config = Config::try_from(&file).map_err(Failure::usage)?;
        Ok((file, config))
    }
}

pub fn run(args: Args) -> Result<(), Failure> {
    let (file, _) = args.file.load()?;
    match args.command {
        Command::Check => Ok(()),
        Command::Print if args.json => print(serde_json::to_string(&file).map_err(Failure::failed)?),
        Command::Print => write_out(file.explained().as_bytes()),
    }
}
