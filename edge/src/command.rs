//! How commands speak and end: results on standard output, everything else on standard error. Exit codes: 0 done, 1 failed,
//! 2 wrong usage.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// How a command ended, if not well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
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
    /// Exit code 2, with the error's own words.
    pub fn usage(why: impl Display) -> Self {
        Self::Usage(why.to_string())
    }

    /// Exit code 1, with the error's own words.
    pub fn failed(why: impl Display) -> Self {
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

/// Writes one line of results to standard output.
pub fn print(line: impl Display) -> Result<(), Failure> {
    write_out(format!("{line}\n").as_bytes())
}

/// Writes to standard output, now.
pub fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// Writes one line for the person at the terminal to standard error; where that is closed, nobody is told.
pub fn tell(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// The exit code of a command that has ended; why it failed is told here.
pub fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(format_args!("error: {failure}"));
            let usage = matches!(failure, Failure::Usage(_));
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}
