//! Flags that several commands share: those of every command that opens ports, and what they mean.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Failure;

/// Where peers reach us, and where state lies.
#[derive(Clone, Debug, clap::Args)]
pub struct PortFlags {
    /// Accept peers at this address; port 0 picks a free one [default: `0.0.0.0:16881` and `[::]:16881`]
    #[arg(long, value_name = "ADDR", env = "SEEDER__LISTEN", value_delimiter = ',')]
    pub listen: Vec<SocketAddr>,

    /// Keep state in this folder [default: ~/.local/state/kinswarm]
    #[arg(long, value_name = "DIR", env = "SEEDER__DATA")]
    pub data: Option<PathBuf>,

    /// Whether peers shake hands behind obfuscation: `prefer` does, keeps to plain payload where the other side
    /// lets it, and speaks plainly to those who cannot; `require` refuses these, and obfuscates everything
    #[arg(long, value_name = "WHEN", default_value = "prefer")]
    pub encryption: Encryption,

    /// How bytes travel; `both` means TCP until there is uTP
    #[arg(long, value_name = "HOW", default_value = "both")]
    pub transport: Transport,

    /// Ask no distributed hash table for peers (so far always true)
    #[arg(long)]
    pub no_dht: bool,

    /// Ask no neighbours on the local network for peers (so far always true)
    #[arg(long)]
    pub no_lsd: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Encryption {
    Prefer,
    Require,
    Off,
}

impl From<Encryption> for crate::engine::Encryption {
    fn from(typed: Encryption) -> Self {
        match typed {
            Encryption::Prefer => Self::Prefer,
            Encryption::Require => Self::Require,
            Encryption::Off => Self::Off,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    Tcp,
    Utp,
    Both,
}

impl PortFlags {
    /// Refuses what this version cannot keep: a promise of secrecy or of a transport is not broken in silence.
    pub fn check(&self) -> Result<(), Failure> {
        if self.transport == Transport::Utp {
            return Err(Failure::usage(
                "--transport utp: this version speaks TCP only; say `tcp` or `both`",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        ports: PortFlags,
    }

    #[track_caller]
    fn typed(words: &str) -> PortFlags {
        Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace()))
            .unwrap()
            .ports
    }

    #[test]
    fn several_addresses_may_be_named() {
        let listen = typed("--listen 127.0.0.1:0 --listen [::1]:9").listen;
        assert_eq!(
            listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["127.0.0.1:0", "[::1]:9"]
        );
        assert!(typed("").listen.is_empty());
    }

    #[test]
    fn promises_that_cannot_be_kept_are_wrong_usage() {
        let failure = typed("--transport utp").check().unwrap_err();
        assert!(
            matches!(&failure, Failure::Usage(why) if why.starts_with("--transport utp")),
            "{failure}"
        );
        for words in [
            "--encryption prefer",
            "--encryption require",
            "--encryption off",
            "--transport both --no-dht --no-lsd",
            "--transport tcp",
        ] {
            typed(words).check().unwrap();
        }
    }
}
