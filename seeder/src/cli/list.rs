//! `seeder list`: the torrents of all that run on the state folder.

use std::io::{self, IsTerminal as _};

use edge::command::write_out;
use edge::output::Table;

use super::ask::{self, Common, Held, Seeders};
use super::human::{cut, percent, ratio, short_hash, speed, stage};
use super::top::model::Sort;
use super::{Failure, print};
use crate::engine::Summary;

/// Places for a name on a terminal; the hash beside it tells long ones apart.
const NAME_MAX: usize = 40;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What comes first; numbers begin with the largest
    #[arg(long, value_name = "COLUMN", default_value = "name")]
    sort: Column,

    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Column {
    Name,
    Stage,
    Done,
    Down,
    Up,
    Ratio,
    Peers,
}

impl Column {
    fn sort(self) -> Sort {
        match self {
            Self::Name => Sort::Name,
            Self::Stage => Sort::Stage,
            Self::Done => Sort::Done,
            Self::Down => Sort::Down,
            Self::Up => Sort::Up,
            Self::Ratio => Sort::Ratio,
            Self::Peers => Sort::Peers,
        }
    }
}

pub fn run(args: Args) -> Result<(), Failure> {
    ask::block_on(async {
        let seeders = Seeders::find(&args.common).await?;
        let held = seeders.list().await?;
        let mut torrents: Vec<Summary> = held.into_iter().map(|Held { torrent, .. }| torrent).collect();
        let sort = args.sort.sort();
        torrents.sort_by(|one, other| sort.order(one, other));
        if args.common.json {
            return torrents
                .iter()
                .try_for_each(|torrent| print(serde_json::to_string(torrent).map_err(Failure::failed)?));
        }
        let name_max = if io::stdout().is_terminal() {
            NAME_MAX
        } else {
            usize::MAX
        };
        write_out(table(&torrents, name_max).as_bytes())
    })
}

fn table(torrents: &[Summary], name_max: usize) -> String {
    if torrents.is_empty() {
        return "no torrents; `seeder add FILE --into DIR` adds one\n".to_owned();
    }
    let mut table = Table::new(&[
        "NAME", "STAGE", ">DONE", ">DOWN", ">UP", ">RATIO", ">PEERS", "HASH",
    ]);
    for torrent in torrents {
        table.row([
            cut(&torrent.name, name_max),
            stage(torrent),
            format!("{} %", percent(torrent)),
            speed(torrent.download_rate),
            speed(torrent.upload_rate),
            ratio(torrent),
            torrent.peers.to_string(),
            short_hash(torrent),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::human::tests::torrent;

    #[test]
    fn the_list_is_a_table() {
        let torrents = [torrent("Holidays", "aabb"), torrent("A name that is long", "cc")];
        let drawn = "\
NAME        STAGE        DONE       DOWN  UP  RATIO  PEERS  HASH
Holidays    downloading  50 %  5.00 MB/s   –   0.25      3  aabb
A name th…  downloading  50 %  5.00 MB/s   –   0.25      3  cc
";
        assert_eq!(table(&torrents, 10), drawn);
        assert!(table(&[], 10).contains("seeder add"));
    }
}
