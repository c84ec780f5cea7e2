//! `seeder man`: the manual page on standard output, in roff.

use clap::CommandFactory as _;
use clap_mangen::Man;

use super::{Cli, Failure, print};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The command to describe; without it, the program
    command: Option<String>,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let mut program = Cli::command();
    program.build();
    let described = match &args.command {
        None => program,
        Some(name) => program.find_subcommand(name).cloned().ok_or_else(|| {
            Failure::Usage(format!(
                "there is no command {name:?}; `seeder --help` lists them"
            ))
        })?,
    };
    let mut page = Vec::new();
    Man::new(described).render(&mut page).map_err(Failure::failed)?;
    print(String::from_utf8_lossy(&page).trim_end())
}
