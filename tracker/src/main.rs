//! The `tracker` command: glue, no rules.

use std::process::ExitCode;

fn main() -> ExitCode {
    tracker::cli::main()
}
