//! `tracker healthcheck`: asks a running tracker, for images without curl.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;

use super::{Common, Failure};
use crate::config::Typed;
use edge::command::print;

const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the tracker answers /health [default: as in the settings, 127.0.0.1:6970]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
}

pub(super) fn run(args: Args, common: Common) -> Result<(), Failure> {
    let typed = Typed {
        admin: args.admin,
        ..Typed::default()
    };
    let (_, config) = common.load(typed)?;
    let Some(address) = config.admin else {
        return Err(Failure::usage(
            "admin.listen is off, so there is nobody to ask; give --admin ADDR",
        ));
    };
    let answer = ask(address).map_err(|error| {
        Failure::Failed(format!(
            "no answer from {address}: {error}; if the tracker runs, say where it answers with --admin ADDR"
        ))
    })?;
    let status = answer.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        return Err(Failure::Failed(format!("{address} answers {status:?}")));
    }
    if common.json {
        print(json!({ "healthy": true, "address": address.to_string() }))
    } else {
        print("ok")
    }
}

fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    // More than this is not our tracker.
    stream.take(4_096).read_to_string(&mut answer)?;
    Ok(answer)
}
