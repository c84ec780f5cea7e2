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

#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn every_command_has_a_page_with_a_sentence_and_is_completed() {
        let mut program = Cli::command();
        program.build();
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut Cli::command(), "seeder", &mut script);
        let script = String::from_utf8(script).unwrap();
        for command in program
            .get_subcommands()
            .filter(|command| command.get_name() != "help")
        {
            let name = command.get_name();
            let mut page = Vec::new();
            Man::new(command.clone()).render(&mut page).unwrap();
            let page = String::from_utf8(page).unwrap();
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.len() > 10, "{name} does not say what it does");
            assert!(
                page.contains("SYNOPSIS") && page.contains("\\-\\-log"),
                "{name}: {page}"
            );
            assert!(
                script.contains(&format!("seeder,{name})")),
                "{name} is not completed"
            );
        }
    }
}
