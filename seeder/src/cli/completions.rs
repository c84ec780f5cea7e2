//! `seeder completions SHELL`: a completion script on standard output.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Failure, print};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell to complete for
    shell: Shell,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "seeder", &mut script);
    print(String::from_utf8_lossy(&script).trim_end())
}
