//! `seeder add FILE|MAGNET…`: gives torrents to a running seeder, to be fetched into a folder or seeded from one.
use super::Failure;
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}
pub fn run(_: Args) -> Result<(), Failure> {
    Ok(())
}
