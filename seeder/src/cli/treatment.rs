//! How a torrent is to be treated, as flags of every command that starts or changes one: which files, in which order, how
//! fast, how long.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use shared::metainfo::{FileKind, Info};

use super::Failure;
use crate::engine::{Check, Goals, Options, TorrentLimits};
use crate::library::filter::{Filter, Verdict};
use crate::torrent::{Priority, Wishes};
use crate::units::{self, Rate};

/// A value, or `off` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrOff<T>(pub Option<T>);

impl<T: FromStr<Err: std::fmt::Display>> FromStr for OrOff<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self(None));
        }
        let value = text.parse().map_err(|error| format!("{error}; or say off"))?;
        Ok(Self(Some(value)))
    }
}

/// Bytes given for each byte of the torrent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio(pub f64);

impl FromStr for Ratio {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text
            .parse()
            .ok()
            .filter(|ratio: &f64| *ratio > 0.0 && ratio.is_finite());
        number.map(Self).ok_or("say a number above zero, such as 1.5")
    }
}

/// A time to seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        units::time(text)
            .map(Self)
            .ok_or("say a time, such as 12h, 7d or 1h30m")
    }
}

/// A number of things, one at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u32);

impl FromStr for Count {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.parse().ok().filter(|count: &u32| *count > 0);
        number.map(Self).ok_or("say a whole number above zero")
    }
}

impl Count {
    pub fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Bounds for the torrents of this command.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SpeedFlags {
    /// Give each torrent at most this many bytes a second, such as 500k or 2M
    #[arg(long, value_name = "RATE")]
    pub limit_up: Option<Rate>,

    /// Take at most this many bytes a second for each torrent, such as 500k or 2M
    #[arg(long, value_name = "RATE")]
    pub limit_down: Option<Rate>,
}

impl SpeedFlags {
    pub fn limits(&self) -> TorrentLimits {
        TorrentLimits {
            upload: self.limit_up.and_then(|rate| rate.0),
            download: self.limit_down.and_then(|rate| rate.0),
            ..TorrentLimits::default()
        }
    }
}

/// When a torrent has been given enough; the first that is reached pauses it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct GoalFlags {
    /// Give until so many bytes were given for each byte of the torrent, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    pub ratio: Option<Ratio>,

    /// Give for so long once all is there, such as 12h or 7d
    #[arg(long, value_name = "TIME")]
    pub seed_time: Option<Time>,

    /// Give until so many other complete peers were seen within a week
    #[arg(long, value_name = "NUMBER")]
    pub copies: Option<Count>,
}

impl GoalFlags {
    pub fn goals(&self) -> Goals {
        Goals {
            ratio: self.ratio.map(|ratio| ratio.0),
            time: self.seed_time.map(|time| time.0),
            copies: self.copies.map(|count| count.0),
        }
    }

    /// There is something after which it is enough.
    pub fn have_an_end(&self) -> bool {
        !self.goals().is_none()
    }
}

/// How a command's torrents are given: bounds and goals.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct GiveFlags {
    #[command(flatten)]
    pub speed: SpeedFlags,

    #[command(flatten)]
    pub goals: GoalFlags,
}

impl GiveFlags {
    pub fn options(&self) -> Options {
        Options {
            limits: self.speed.limits(),
            goals: self.goals.goals(),
            ..Options::default()
        }
    }
}

/// What of a torrent is fetched, and in which order.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct WishFlags {
    /// Fetch only these files, such as '*.jpg' or 'Summer 2019'; repeat it for more patterns
    #[arg(long, value_name = "PATTERN")]
    pub only: Vec<String>,

    /// Fetch from the first piece to the last, to look at it while it comes
    #[arg(long)]
    pub sequential: bool,
}

impl WishFlags {
    /// Refuses patterns that are none, before anything is asked for.
    pub fn check(&self) -> Result<(), Failure> {
        self.filter().map(drop)
    }

    fn filter(&self) -> Result<Filter, Failure> {
        Filter::new(&self.only, &[], true).map_err(|error| Failure::Usage(format!("--only: {error}")))
    }

    /// What these flags mean for a torrent whose files are known. A pattern that no file matches is a mistake.
    pub fn wishes(&self, info: &Info) -> Result<Wishes, Failure> {
        if self.only.is_empty() {
            return Ok(Wishes {
                sequential: self.sequential,
                ..Wishes::default()
            });
        }
        self.filter()?;
        let paths: Vec<Option<String>> = info
            .files()
            .iter()
            .map(|file| (file.kind == FileKind::Regular).then(|| file.path.to_string()))
            .collect();
        for pattern in &self.only {
            let one = Filter::new(std::slice::from_ref(pattern), &[], true).map_err(Failure::usage)?;
            if !paths
                .iter()
                .flatten()
                .any(|path| one.judge_file(path) == Verdict::In)
            {
                return Err(Failure::Failed(format!(
                    "--only {pattern:?}: no file of {:?} is called so; `seeder inspect --all` lists them",
                    info.name()
                )));
            }
        }
        Ok(Wishes {
            files: priorities(&self.filter()?, &paths),
            sequential: self.sequential,
        })
    }
}

fn priorities(filter: &Filter, paths: &[Option<String>]) -> Arc<[Priority]> {
    let wanted = |path: &Option<String>| {
        let is_in = path
            .as_ref()
            .is_some_and(|path| filter.judge_file(path) == Verdict::In);
        if is_in { Priority::Normal } else { Priority::Skip }
    };
    paths.iter().map(wanted).collect()
}

/// How much of what is on disk is hashed before it is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CheckFlag {
    /// Nothing now: sizes and times are believed, and what is given is hashed once before it leaves
    #[default]
    Lazy,
    /// A piece of every file
    Quick,
    /// Everything
    Full,
}

impl CheckFlag {
    pub fn check(self) -> Check {
        match self {
            Self::Lazy => Check::Lazy,
            Self::Quick => Check::Quick,
            Self::Full => Check::Full,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Lazy => "lazy",
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_is_none_and_everything_else_is_read() {
        assert_eq!("off".parse(), Ok(OrOff::<Count>(None)));
        assert_eq!("3".parse(), Ok(OrOff(Some(Count(3)))));
        let error = "0".parse::<OrOff<Count>>().unwrap_err();
        assert_eq!(error, "say a whole number above zero; or say off");
    }

    #[test]
    fn ratios_are_numbers_above_zero() {
        assert_eq!("1.5".parse(), Ok(Ratio(1.5)));
        for text in ["0", "-1", "inf", "NaN", "much"] {
            assert!(text.parse::<Ratio>().is_err(), "{text}");
        }
        assert_eq!("7d".parse(), Ok(Time(Duration::from_secs(604_800))));
    }

    #[test]
    fn only_means_files_by_name_by_folder_and_by_ending_and_padding_is_never_wanted() {
        let paths = ["a.JPG", "raw/b.nef", "raw/c.jpg", "film.mp4"];
        let mut paths: Vec<_> = paths.iter().map(|path| Some((*path).to_owned())).collect();
        paths.push(None);
        for (only, wanted) in [
            ("*.jpg", "x.x.."),
            ("raw", ".xx.."),
            ("film.mp4", "...x."),
            ("raw/*.jpg", "..x.."),
        ] {
            let filter = Filter::new(&[only.to_owned()], &[], true).unwrap();
            let drawn: String = priorities(&filter, &paths)
                .iter()
                .map(|priority| if *priority == Priority::Skip { '.' } else { 'x' })
                .collect();
            assert_eq!(drawn, wanted, "{only}");
        }
    }
}
