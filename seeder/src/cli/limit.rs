//! `seeder limit`: bounds and goals of a torrent, or of the whole process; without a flag it shows them.

use axum::http::Method;
use edge::client::Payload;
use edge::output::{Facts, plain};
use serde_json::{Map, Value, json};

use super::ask::{self, Common, Held, Seeders};
use super::show;
use super::treatment::{Count, OrOff, Ratio, Time};
use super::{Failure, print, tell};
use crate::engine::Rates;
use crate::torrent::schedule::Rule;
use crate::units::Rate;

/// Limit a torrent; without TORRENT, the whole running seeder; without a flag, show the limits
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The torrent, by name, by hash, or by the beginning of either
    #[arg(value_name = "TORRENT")]
    torrent: Option<String>,

    /// Give at most so many bytes a second: 500k, 2M, 20Mbit, off
    #[arg(long, value_name = "RATE")]
    up: Option<Rate>,

    /// Take at most so many bytes a second
    #[arg(long, value_name = "RATE")]
    down: Option<Rate>,

    /// Give peers in the local network at most so many bytes a second
    #[arg(long, value_name = "RATE", conflicts_with = "torrent")]
    lan_up: Option<Rate>,

    /// Take at most so many bytes a second from peers in the local network
    #[arg(long, value_name = "RATE", conflicts_with = "torrent")]
    lan_down: Option<Rate>,

    /// Keep at most so many connections
    #[arg(long, value_name = "NUMBER")]
    connections: Option<OrOff<Count>>,

    /// Let at most so many peers of the torrent ask at the same time
    #[arg(long, value_name = "NUMBER", requires = "torrent")]
    slots: Option<OrOff<Count>>,

    /// Pause once so many bytes were given for each byte of the torrent
    #[arg(long, value_name = "NUMBER", requires = "torrent")]
    ratio: Option<OrOff<Ratio>>,

    /// Pause after so long as a seed
    #[arg(long, value_name = "TIME", requires = "torrent")]
    seed_time: Option<OrOff<Time>>,

    /// Pause once so many other complete peers were seen within a week
    #[arg(long, value_name = "NUMBER", requires = "torrent")]
    copies: Option<OrOff<Count>>,

    /// Other rates at some hours, such as 'mo-fr 08:00-22:00 up=500k'; repeated for more (where they overlap the later one counts); off takes all away
    #[arg(long, value_name = "RULE", conflicts_with = "torrent")]
    schedule: Vec<OrOff<Rule>>,

    #[command(flatten)]
    common: Common,
}

pub fn run(args: Args) -> Result<(), Failure> {
    ask::block_on(async {
        let seeders = Seeders::find(&args.common).await?;
        match &args.torrent {
            Some(torrent) => limit_torrent(&args, &seeders, torrent).await,
            None => limit_process(&args, &seeders).await,
        }
    })
}

async fn limit_torrent(args: &Args, seeders: &Seeders, torrent: &str) -> Result<(), Failure> {
    let change = change(args);
    for held in seeders.named(torrent).await? {
        if !change.is_empty() {
            seeders.change(&held.id(), &change).await?;
        }
        show_torrent(args, seeders, &held).await?;
    }
    Ok(())
}

/// What is to be different, by the names of [`crate::engine::OptionFacts`]; null is no limit.
fn change(args: &Args) -> Map<String, Value> {
    let count = |flag: Option<OrOff<Count>>| flag.map(|count| json!(count.0.map(|count| count.0)));
    let changes = [
        ("upload", args.up.map(|rate| json!(rate.0))),
        ("download", args.down.map(|rate| json!(rate.0))),
        ("connections", count(args.connections)),
        ("upload_slots", count(args.slots)),
        (
            "ratio",
            args.ratio.map(|ratio| json!(ratio.0.map(|ratio| ratio.0))),
        ),
        (
            "seed_seconds",
            args.seed_time
                .map(|time| json!(time.0.map(|time| time.0.as_secs()))),
        ),
        ("copies", count(args.copies)),
    ];
    named(changes)
}

fn named(changes: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Map<String, Value> {
    let said = changes
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    said.collect()
}

async fn show_torrent(args: &Args, seeders: &Seeders, held: &Held) -> Result<(), Failure> {
    let details = seeders.details(&held.id()).await?;
    if args.common.json {
        return print(serde_json::to_string(&details.options).map_err(Failure::failed)?);
    }
    let goals = show::goals(&details.options, details.seeding_seconds);
    let limits = show::limits(&details.options);
    print(format_args!(
        "{}: limits: {limits}; goals: {goals}",
        plain(&held.torrent.name)
    ))
}

async fn limit_process(args: &Args, seeders: &Seeders) -> Result<(), Failure> {
    let change = process_change(args)?;
    if seeders.count() > 1 && !change.is_empty() {
        tell(format_args!(
            "{} seeders run on this folder; each is limited so",
            seeders.count()
        ));
    }
    for process in 0..seeders.count() {
        if !change.is_empty() {
            let body = Payload::json(&change).map_err(ask::failure)?;
            seeders.send(process, Method::PATCH, "/limits", body).await?;
        }
        let rates: Rates = seeders.fetch(process, "/limits").await?;
        if args.common.json {
            print(serde_json::to_string(&rates).map_err(Failure::failed)?)?;
        } else {
            edge::command::write_out(words(&rates).to_string().as_bytes())?;
        }
    }
    Ok(())
}

/// What is to be different, by the names of [`Rates`].
fn process_change(args: &Args) -> Result<Map<String, Value>, Failure> {
    let rules: Vec<String> = args
        .schedule
        .iter()
        .filter_map(|rule| Some(rule.0?.to_string()))
        .collect();
    if !rules.is_empty() && rules.len() < args.schedule.len() {
        return Err(Failure::usage(
            "--schedule off takes all rules away; name either off or rules",
        ));
    }
    Ok(named([
        ("upload", args.up.map(|rate| json!(rate.0))),
        ("download", args.down.map(|rate| json!(rate.0))),
        ("lan_upload", args.lan_up.map(|rate| json!(rate.0))),
        ("lan_download", args.lan_down.map(|rate| json!(rate.0))),
        (
            "connections",
            args.connections.map(|count| json!(count.0.map(|count| count.0))),
        ),
        ("schedule", (!args.schedule.is_empty()).then(|| json!(rules))),
    ]))
}

fn words(rates: &Rates) -> Facts {
    let mut facts = Facts::default();
    facts
        .add("up", Rate(rates.upload))
        .add("down", Rate(rates.download))
        .add("LAN up", Rate(rates.lan_upload))
        .add("LAN down", Rate(rates.lan_download))
        .add_some("connections", rates.connections)
        .add_some("connections per torrent", rates.connections_per_torrent);
    for rule in &rates.schedule {
        facts.add("schedule", rule);
    }
    facts
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn typed(words: &[&str]) -> Result<Args, clap::Error> {
        Line::try_parse_from(std::iter::once(&"x").chain(words)).map(|line| line.args)
    }

    #[test]
    fn what_is_not_said_stays_and_off_is_null() {
        let args = typed(&[
            "Holidays",
            "--up",
            "200k",
            "--down",
            "off",
            "--ratio",
            "1.5",
            "--seed-time",
            "1d",
        ])
        .unwrap();
        let expected = json!({ "upload": 200_000, "download": null, "ratio": 1.5, "seed_seconds": 86_400 });
        assert_eq!(Value::Object(change(&args)), expected);
        assert!(change(&typed(&["Holidays"]).unwrap()).is_empty());
    }

    #[test]
    fn a_schedule_is_a_list_of_rules_or_off() {
        let rule = "mo-fr 08:00-22:00 up=500k";
        let args = typed(&["--schedule", rule, "--lan-up", "off"]).unwrap();
        let expected = json!({ "schedule": [rule], "lan_upload": null });
        assert_eq!(Value::Object(process_change(&args).unwrap()), expected);
        let none = process_change(&typed(&["--schedule", "off"]).unwrap()).unwrap();
        assert_eq!(Value::Object(none), json!({ "schedule": [] }));
        let both = typed(&["--schedule", "off", "--schedule", rule]).unwrap();
        assert!(matches!(process_change(&both), Err(Failure::Usage(_))));
    }

    #[test]
    fn goals_belong_to_a_torrent_and_schedules_to_the_process() {
        for words in [
            &["--ratio", "1"][..],
            &["Holidays", "--schedule", "up=1M"],
            &["--up", "0"],
            &["--schedule", "lunch up=1M"],
        ] {
            assert!(typed(words).is_err(), "{words:?}");
        }
    }
}
