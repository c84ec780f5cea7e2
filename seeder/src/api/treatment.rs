//! From what a request says of a torrent's treatment to what the engine does: numbers are bounded, and what is not said stays.

use std::sync::Arc;
use std::time::Duration;

use edge::problem::Problem;
use shared::magnet::Selection;
use url::Url;

use super::bodies::{HowToCheck, LimitsChange, Treatment};
use crate::engine::view::priority;
use crate::engine::{Change, Check, Goals, Options, Rates, TorrentLimits};
use crate::torrent::{Priority, Wishes};

/// Announce URLs and web seeds of one torrent.
const URLS_MAX: usize = 100;

/// The longest of them.
const URL_MAX: usize = 2_048;

/// Tiers of announce URLs.
type Tiers = Vec<Vec<String>>;

/// Rules of a schedule.
const RULES_MAX: usize = 100;

impl From<HowToCheck> for Check {
    fn from(said: HowToCheck) -> Self {
        match said {
            HowToCheck::Lazy => Self::Lazy,
            HowToCheck::Quick => Self::Quick,
            HowToCheck::Full => Self::Full,
        }
    }
}

/// What is known of a torrent whose treatment changes.
#[derive(Debug)]
pub(super) struct Before {
    wishes: Wishes,
    limits: TorrentLimits,
    goals: Goals,
    /// Files, padding among them; none where the metadata are missing.
    files: usize,
}

impl Before {
    /// A torrent that is here.
    pub(super) fn of(options: &Options, files: usize) -> Self {
        Self {
            wishes: options.wishes.clone(),
            limits: options.limits,
            goals: options.goals,
            files,
        }
    }
}

impl Treatment {
    /// What changes in a torrent.
    pub(super) fn change(self, before: Before) -> Result<Change, Problem> {
        self.check()?;
        let Before {
            mut wishes,
            mut limits,
            mut goals,
            files,
        } = before;
        let (old_limits, old_goals) = (limits, goals);
        put(&mut limits.upload, self.upload);
        put(&mut limits.download, self.download);
        put(&mut limits.connections, self.connections);
        put(&mut limits.upload_slots, self.upload_slots);
        put(&mut goals.ratio, self.ratio);
        put(
            &mut goals.time,
            self.seed_seconds.map(|secs| secs.map(Duration::from_secs)),
        );
        put(&mut goals.copies, self.copies);
        let speaks_of_files = self.only.is_some() || !self.files.is_empty();
        if speaks_of_files {
            wishes.files = self.priorities(&wishes, files)?;
        }
        let wished = speaks_of_files || self.sequential.is_some();
        wishes.sequential = self.sequential.unwrap_or(wishes.sequential);
        Ok(Change {
            wishes: wished.then_some(wishes),
            limits: (limits != old_limits).then_some(limits),
            goals: (goals != old_goals).then_some(goals),
            super_seed: self.super_seed,
            trackers: self.trackers,
            web_seeds: self.web_seeds,
        })
    }

    /// The treatment of a new torrent; announce URLs that are not its own come beside.
    pub(super) fn options(
        self,
        defaults: &Options,
        files: usize,
    ) -> Result<(Options, Option<Tiers>), Problem> {
        let change = self.change(Before::of(defaults, files))?;
        let options = Options {
            wishes: change.wishes.unwrap_or_else(|| defaults.wishes.clone()),
            limits: change.limits.unwrap_or(defaults.limits),
            goals: change.goals.unwrap_or(defaults.goals),
            web_seeds: change.web_seeds.unwrap_or_default(),
            super_seed: change.super_seed.unwrap_or_default(),
            ..defaults.clone()
        };
        Ok((options, change.trackers))
    }

    /// Takes the selection out, for a link that says it by itself.
    pub(super) fn take_only(&mut self) -> Result<Option<Selection>, Problem> {
        let only = self.only.take().flatten();
        only.map(|text| selection(&text)).transpose()
    }

    fn priorities(&self, wishes: &Wishes, files: usize) -> Result<Arc<[Priority]>, Problem> {
        if files == 0 {
            return Err(Problem::conflict(
                "which files there are is not known before the metadata are here",
            ));
        }
        let none = |index| {
            let last = files - 1;
            Problem::unusable(format!("the torrent has no file {index}: the last one is {last}"))
        };
        let mut all = match &self.only {
            None => {
                let mut all = wishes.files.to_vec();
                all.resize(files, Priority::Normal);
                all
            }
            Some(None) => vec![Priority::Normal; files],
            Some(Some(text)) => {
                let only = selection(text)?;
                let wish = |file| {
                    if only.has(file) {
                        Priority::Normal
                    } else {
                        Priority::Skip
                    }
                };
                let all: Vec<Priority> = (0..files).map(wish).collect();
                if all.iter().all(|wish| *wish == Priority::Skip) {
                    return Err(Problem::unusable(format!(
                        "only {text} is no file of the torrent: it has those from 0 to {}",
                        files - 1
                    )));
                }
                all
            }
        };
        for file in &self.files {
            let wish = priority::of_word(&file.priority).ok_or_else(|| {
                Problem::unusable(format!(
                    "{:?} is no priority: say skip, low, normal or high",
                    file.priority
                ))
            })?;
            *all.get_mut(file.index).ok_or_else(|| none(file.index))? = wish;
        }
        Ok(all.into())
    }

    fn check(&self) -> Result<(), Problem> {
        if let Some(Some(ratio)) = self.ratio
            && !(ratio.is_finite() && ratio > 0.0)
        {
            return Err(Problem::unusable(format!(
                "ratio {ratio} is none: say a number above 0, or null for no such goal"
            )));
        }
        for (name, bound) in [
            ("connections", self.connections),
            ("upload_slots", self.upload_slots),
        ] {
            if bound == Some(Some(0)) {
                return Err(Problem::unusable(format!(
                    "{name} 0 would be a pause: pause the torrent, or say null for no bound"
                )));
            }
        }
        for (name, rate) in [("upload", self.upload), ("download", self.download)] {
            if rate == Some(Some(0)) {
                return Err(Problem::unusable(format!(
                    "{name} 0 would be a pause: pause the torrent, or say null for no bound"
                )));
            }
        }
        let trackers = self.trackers.iter().flatten().flatten();
        check_urls("trackers", trackers)?;
        check_urls("web_seeds", self.web_seeds.iter().flatten())
    }
}

fn selection(text: &str) -> Result<Selection, Problem> {
    text.parse().map_err(|_| {
        Problem::unusable(format!(
            "only {text:?} is no list of file numbers such as 0,2,6-8"
        ))
    })
}

fn check_urls<'a>(what: &str, urls: impl Iterator<Item = &'a String>) -> Result<(), Problem> {
    for (count, url) in urls.enumerate() {
        if count >= URLS_MAX {
            return Err(Problem::unusable(format!("{what}: at most {URLS_MAX}")));
        }
        let good = url.len() <= URL_MAX
            && Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !good {
            let shown: String = url.chars().take(80).collect();
            return Err(Problem::unusable(format!(
                "{what}: {shown:?} is no http or https address"
            )));
        }
    }
    Ok(())
}

impl LimitsChange {
    /// The bounds of the process as they are from now on.
    pub(super) fn put_into(self, rates: &mut Rates) -> Result<(), Problem> {
        if self
            .schedule
            .as_ref()
            .is_some_and(|rules| rules.len() > RULES_MAX)
        {
            return Err(Problem::unusable(format!("schedule: at most {RULES_MAX} rules")));
        }
        for (name, bound) in [
            ("connections", self.connections),
            ("connections_per_torrent", self.connections_per_torrent),
        ] {
            if bound == Some(Some(0)) {
                return Err(Problem::unusable(format!("{name} 0: say at least 1, or null")));
            }
        }
        put(&mut rates.upload, self.upload);
        put(&mut rates.download, self.download);
        put(&mut rates.lan_upload, self.lan_upload);
        put(&mut rates.lan_download, self.lan_download);
        put(&mut rates.connections, self.connections);
        put(&mut rates.connections_per_torrent, self.connections_per_torrent);
        if let Some(rules) = self.schedule {
            rates.schedule = rules;
        }
        Ok(())
    }
}

#[expect(clippy::option_option, reason = "missing, null and a value are three things")]
fn put<T>(place: &mut Option<T>, said: Option<Option<T>>) {
    if let Some(said) = said {
        *place = said;
    }
}
