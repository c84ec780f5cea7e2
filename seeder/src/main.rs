//! The `seeder` command: glue, no rules.

use std::process::ExitCode;

fn main() -> ExitCode {
    seeder::cli::main()
}
