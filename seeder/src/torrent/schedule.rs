//! Other limits at some hours of some days: rules like `mo-fr 08:00-22:00 up=2M down=off`. What day and hour it is, in the
//! place where the program runs, is an argument.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::units::Rate;

const DAY_NAMES: [&str; 7] = ["mo", "tu", "we", "th", "fr", "sa", "su"];
const DAY: u16 = 24 * 60;
/// Less would not even carry the words of the protocol.
const RATE_MIN: u64 = 1_000;

/// The days of the week on which a rule begins to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Days(u8);

impl Days {
    const ALL: Self = Self(0b111_1111);

    /// Monday is 0.
    fn holds(self, weekday: u8) -> bool {
        self.0 & (1 << (weekday % 7)) != 0
    }
}

/// A limit that a rule sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// None at all.
    Off,
    /// Bytes a second.
    Rate(u64),
}

impl Limit {
    /// As it is set elsewhere: bytes a second, or none.
    pub fn rate(self) -> Option<u64> {
        match self {
            Self::Off => None,
            Self::Rate(rate) => Some(rate),
        }
    }
}

/// One rule. It is written and read as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule {
    days: Days,
    /// Minutes of the day. A rule that ends before it begins holds until the next day.
    from: u16,
    to: u16,
    upload: Option<Limit>,
    download: Option<Limit>,
}

/// What the rules say now; where they say nothing, the usual limits hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Override {
    pub upload: Option<Limit>,
    pub download: Option<Limit>,
}

impl Rule {
    fn holds(&self, weekday: u8, minute: u16) -> bool {
        let yesterday = (weekday % 7 + 6) % 7;
        let (from, to) = (self.from, self.to);
        if from < to {
            return self.days.holds(weekday) && (from..to).contains(&minute);
        }
        self.days.holds(weekday) && minute >= from || self.days.holds(yesterday) && minute < to
    }
}

/// What holds at this minute of this day (Monday is 0). Of rules that overlap, the later one in the list counts, for each
/// direction by itself: the general rule comes first, the exceptions after.
pub fn at(rules: &[Rule], weekday: u8, minute: u16) -> Override {
    let mut now = Override::default();
    for rule in rules.iter().filter(|rule| rule.holds(weekday, minute)) {
        now.upload = rule.upload.or(now.upload);
        now.download = rule.download.or(now.download);
    }
    now
}

/// A rule that cannot be read. Each names the word at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error(
        "`{0}` in the rule is neither days (mo-fr, sa,su, daily), nor hours (08:00-22:00), nor a limit (up=2M, down=off)"
    )]
    Word(String),
    #[error("`{0}` in the rule is not a day; days are mo, tu, we, th, fr, sa, su, or daily")]
    Day(String),
    #[error("`{0}` in the rule is not a time of day; write hours and minutes, as 08:00 or 24:00")]
    Time(String),
    #[error("`{0}` in the rule begins when it ends; for a whole day leave the hours out")]
    NoTime(String),
    #[error(
        "`{0}` in the rule is not a rate; write bytes a second with k, M or G, at least 1k, or off for no limit"
    )]
    Rate(String),
    #[error("`{0}` in the rule says again what was said before")]
    Twice(String),
    #[error("`{0}` is a rule that sets no limit; add up=… or down=…")]
    NoLimit(String),
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (mut days, mut hours, mut upload, mut download) = (None, None, None, None);
        for word in text.split_whitespace() {
            let again = match word.split_once('=') {
                Some(("up", rate)) => upload.replace(limit(word, rate)?).is_some(),
                Some(("down", rate)) => download.replace(limit(word, rate)?).is_some(),
                Some(_) => return Err(RuleError::Word(word.to_owned())),
                None if word.starts_with(|c: char| c.is_ascii_digit()) => {
                    hours.replace(read_hours(word)?).is_some()
                }
                None => days.replace(read_days(word)?).is_some(),
            };
            if again {
                return Err(RuleError::Twice(word.to_owned()));
            }
        }
        if upload.is_none() && download.is_none() {
            return Err(RuleError::NoLimit(text.trim().to_owned()));
        }
        let (from, to) = hours.unwrap_or((0, DAY));
        Ok(Self {
            days: days.unwrap_or(Days::ALL),
            from,
            to,
            upload,
            download,
        })
    }
}

fn read_days(word: &str) -> Result<Days, RuleError> {
    if word.eq_ignore_ascii_case("daily") {
        return Ok(Days::ALL);
    }
    let parts: Vec<&str> = word.split(',').collect();
    let one_day = |part: &&str| part.split('-').any(|name| day(name).is_some());
    if !parts.iter().any(one_day) {
        return Err(RuleError::Word(word.to_owned()));
    }
    let mut days = 0;
    for part in parts {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first = day(first).ok_or_else(|| RuleError::Day(first.to_owned()))?;
        let last = day(last).ok_or_else(|| RuleError::Day(last.to_owned()))?;
        // Weeks are round: `sa-mo` is three days.
        let count = (last + 7 - first) % 7;
        (0..=count).for_each(|step| days |= 1 << ((first + step) % 7));
    }
    Ok(Days(days))
}

fn day(name: &str) -> Option<u8> {
    let place = DAY_NAMES.iter().position(|day| day.eq_ignore_ascii_case(name))?;
    u8::try_from(place).ok()
}

fn read_hours(word: &str) -> Result<(u16, u16), RuleError> {
    let (from, to) = word
        .split_once('-')
        .ok_or_else(|| RuleError::Word(word.to_owned()))?;
    let (from, to) = (minute(from)?, minute(to)?);
    if from % DAY == to % DAY && (from, to) != (0, DAY) {
        return Err(RuleError::NoTime(word.to_owned()));
    }
    Ok((from % DAY, to))
}

fn minute(text: &str) -> Result<u16, RuleError> {
    let read = || {
        let (hours, minutes) = text.split_once(':')?;
        let number = |digits: &str| {
            let plain = digits.len() <= 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|_| plain)
        };
        let (hours, minutes) = (number(hours)?, number(minutes).filter(|_| minutes.len() == 2)?);
        Some(hours * 60 + minutes).filter(|minute| minutes < 60 && *minute <= DAY)
    };
    read().ok_or_else(|| RuleError::Time(text.to_owned()))
}

fn limit(word: &str, text: &str) -> Result<Limit, RuleError> {
    match text.parse() {
        Ok(Rate(None)) => Ok(Limit::Off),
        Ok(Rate(Some(rate))) if rate >= RATE_MIN => Ok(Limit::Rate(rate)),
        _ => Err(RuleError::Rate(word.to_owned())),
    }
}

impl TryFrom<String> for Rule {
    type Error = RuleError;

    fn try_from(text: String) -> Result<Self, RuleError> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        write!(to, "{}", self.days)?;
        if (self.from, self.to) != (0, DAY) {
            write!(to, " {}-{}", clock(self.from), clock(self.to))?;
        }
        for (name, limit) in [("up", self.upload), ("down", self.download)] {
            if let Some(limit) = limit {
                write!(to, " {name}={limit}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Days {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return to.write_str("daily");
        }
        let days: Vec<u8> = (0..7).filter(|day| self.holds(*day)).collect();
        let runs: Vec<String> = days
            .chunk_by(|day, next| day + 1 == *next)
            .filter_map(|run| {
                let name = |day: &u8| DAY_NAMES.get(usize::from(*day)).copied();
                let (first, last) = (name(run.first()?)?, name(run.last()?)?);
                Some(if run.len() == 1 {
                    first.to_owned()
                } else {
                    format!("{first}-{last}")
                })
            })
            .collect();
        to.write_str(&runs.join(","))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        Rate(self.rate()).fmt(to)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(text: &str) -> Vec<Rule> {
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// What holds at a time like `we 12:30`, drawn as `up down` with `-` where no rule says anything.
    #[track_caller]
    fn check(text: &str, time: &str, expected: &str) {
        let (name, clock) = time.split_once(' ').unwrap();
        let now = at(&rules(text), day(name).unwrap(), minute(clock).unwrap());
        let draw = |limit: Option<Limit>| limit.map_or("-".to_owned(), |limit| limit.to_string());
        assert_eq!(
            format!("{} {}", draw(now.upload), draw(now.download)),
            expected,
            "{time}"
        );
    }

    #[test]
    fn a_rule_holds_from_its_first_minute_to_before_its_last_on_its_days() {
        let rule = "mo-fr 08:00-22:00 up=2M down=off";
        check(rule, "mo 08:00", "2M off");
        check(rule, "fr 21:59", "2M off");
        check(rule, "fr 22:00", "- -");
        check(rule, "mo 07:59", "- -");
        check(rule, "sa 12:00", "- -");
    }

    #[test]
    fn a_rule_that_ends_before_it_begins_holds_over_midnight() {
        let rule = "fr,su 22:00-06:00 up=1k";
        check(rule, "fr 23:00", "1k -");
        check(rule, "sa 05:59", "1k -");
        check(rule, "sa 06:00", "- -");
        check(rule, "sa 23:00", "- -");
        check(rule, "mo 00:00", "1k -");
        check(rule, "fr 05:00", "- -");
        check("mo 22:00-24:00 up=1k", "mo 23:59", "1k -");
        check("mo 22:00-24:00 up=1k", "tu 00:00", "- -");
        check("mo 22:00-00:00 up=1k", "tu 00:00", "- -");
    }

    #[test]
    fn the_later_of_two_rules_counts_for_each_direction_by_itself() {
        let text = "up=1M down=4M\nsa-mo up=off\nmo 12:00-13:00 down=500k";
        check(text, "tu 12:30", "1M 4M");
        check(text, "su 12:30", "off 4M");
        check(text, "mo 12:30", "off 500k");
    }

    #[test]
    fn words_come_in_any_order_and_hours_and_days_may_be_left_out() {
        check("down=1.5M DAILY", "we 00:00", "- 1.5M");
        check("up=2000001 08:00-09:00", "we 08:30", "2000001 -");
        check("0:00-24:00 up=3G we", "we 23:59", "3G -");
    }

    #[test]
    fn a_word_that_cannot_be_read_is_named() {
        let error = |text: &str| text.parse::<Rule>().unwrap_err();
        let named = |text: &str| text.to_owned();
        assert_eq!(error("mo-fr lunch up=2M"), RuleError::Word(named("lunch")));
        assert_eq!(error("mo-xx up=2M"), RuleError::Day(named("xx")));
        assert_eq!(error("mo,,fr up=2M"), RuleError::Day(named("")));
        assert_eq!(error("8-22 up=2M"), RuleError::Time(named("8")));
        assert_eq!(error("08:00-24:01 up=2M"), RuleError::Time(named("24:01")));
        assert_eq!(error("08:60-09:00 up=2M"), RuleError::Time(named("08:60")));
        assert_eq!(error("08:00 up=2M"), RuleError::Word(named("08:00")));
        assert_eq!(
            error("08:00-08:00 up=2M"),
            RuleError::NoTime(named("08:00-08:00"))
        );
        assert_eq!(error("up=2X"), RuleError::Rate(named("up=2X")));
        assert_eq!(error("up=0"), RuleError::Rate(named("up=0")));
        assert_eq!(
            error("up=99999999999G"),
            RuleError::Rate(named("up=99999999999G"))
        );
        assert_eq!(error("both=2M"), RuleError::Word(named("both=2M")));
        assert_eq!(error("up=2M up=3M"), RuleError::Twice(named("up=3M")));
        assert_eq!(error("mo tu up=3M"), RuleError::Twice(named("tu")));
        assert_eq!(
            error("mo-fr 08:00-09:00"),
            RuleError::NoLimit(named("mo-fr 08:00-09:00"))
        );
        assert!(error("lunch").to_string().contains("`lunch`"));
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let limit = || {
            prop::option::of(prop_oneof![
                Just(Limit::Off),
                (RATE_MIN..u64::MAX).prop_map(Limit::Rate),
                (0_u32..50).prop_map(|shift| Limit::Rate(RATE_MIN << shift)),
            ])
        };
        (1_u8..128, 0..DAY, 1..=DAY, limit(), limit())
            .prop_filter(
                "a rule limits something at some time",
                |(_, from, to, up, down)| {
                    (up.is_some() || down.is_some()) && (from % DAY != to % DAY || (*from, *to) == (0, DAY))
                },
            )
            .prop_map(|(days, from, to, upload, download)| Rule {
                days: Days(days),
                from,
                to,
                upload,
                download,
            })
    }

    proptest! {
        #[test]
        fn rules_come_back_as_they_went(rule in any_rule()) {
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a-z0-9:=,. \\-µ]{0,40}") {
            let _ = text.parse::<Rule>();
        }

        #[test]
        fn a_rule_holds_as_many_minutes_a_week_as_it_says(rule in any_rule()) {
            let minutes = (0..7).flat_map(|day| (0..DAY).map(move |minute| (day, minute)));
            let held = minutes.filter(|(day, minute)| rule.holds(*day, *minute)).count();
            let span = if rule.from < rule.to { rule.to - rule.from } else { DAY - rule.from + rule.to };
            prop_assert_eq!(held, usize::from(span) * rule.days.0.count_ones() as usize);
        }
    }
}
