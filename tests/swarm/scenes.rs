//! Swarms that tests and the sweep share, and the bars by which they are judged.
//!
//! The best possible time is the bound of Kumar and Ross for fluids: no scheme whatever finishes everyone sooner than the
//! content takes to leave the seed once, than the slowest downlink takes to fetch it, or than all uplinks together take to
//! give it to everyone. Blocks, requests and a network that has to be got to know cost something on top.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for a table, far below what a float holds"
)]

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use shared::moment::Moment;

use super::{Link, Member, Nature, Role, Swarm};

/// Nobody takes longer.
const LIMIT: Moment = Moment::from_secs(3_000);
const PIECE_LENGTH: u32 = 64 * 1024;
const KIB: u64 = 1024;
/// All but those who come late have come after so many milliseconds.
const JOIN_MS: u64 = 3_000;

/// What a scene is made of.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    pub name: &'static str,
    pub peers: usize,
    pub pieces: u32,
    pub free_riders: usize,
    pub liars: usize,
    pub boasters: usize,
    /// Honest peers that leave for a while, once.
    pub churn: usize,
    /// Honest peers that come later.
    pub late: usize,
    pub seed_up: u64,
    pub web_up: u64,
    pub super_seed: bool,
    /// Honest peers that want only the first file.
    pub partial: usize,
    /// Honest peers whose disks lose ten pieces.
    pub lossy: usize,
}

impl Scene {
    pub const PLAIN: Self = Self {
        name: "plain",
        peers: 200,
        pieces: 256,
        free_riders: 0,
        liars: 0,
        boasters: 0,
        churn: 0,
        late: 0,
        seed_up: 256 * KIB,
        web_up: 0,
        super_seed: false,
        partial: 0,
        lossy: 0,
    };

    /// All scenes, by what is hard about each.
    pub const ALL: [Self; 7] = [
        Self::PLAIN,
        Self {
            name: "slow seed",
            seed_up: 40 * KIB,
            ..Self::PLAIN
        },
        Self {
            name: "churn",
            churn: 60,
            late: 40,
            lossy: 5,
            ..Self::PLAIN
        },
        Self {
            name: "free-riders",
            free_riders: 20,
            ..Self::PLAIN
        },
        Self {
            name: "liars",
            liars: 5,
            boasters: 5,
            ..Self::PLAIN
        },
        Self {
            name: "super-seed",
            seed_up: 40 * KIB,
            super_seed: true,
            ..Self::PLAIN
        },
        Self {
            name: "all at once",
            free_riders: 20,
            liars: 3,
            boasters: 3,
            churn: 30,
            late: 20,
            seed_up: 80 * KIB,
            super_seed: true,
            web_up: 64 * KIB,
            partial: 20,
            lossy: 5,
            ..Self::PLAIN
        },
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scene| scene.name == name)
    }

    /// The swarm of this scene: the seed first, then the web seed, then who lies, then the others.
    pub fn swarm(&self, seed: u64) -> Swarm {
        let mut swarm = Swarm::new(seed, PIECE_LENGTH, self.pieces);
        let mut dice = SmallRng::seed_from_u64(seed ^ 0x5ca1_ab1e);
        let mut link = |up: Option<u64>| {
            let drawn = dice.random_range(24..96) * KIB;
            let link = Link {
                up: up.unwrap_or(drawn),
                down: up.unwrap_or(drawn) * 8,
                latency: Duration::from_millis(dice.random_range(5..60)),
            };
            (link, Duration::from_millis(dice.random_range(0..JOIN_MS)))
        };
        let mut add = |role, link, joins| {
            swarm.add(Nature {
                role,
                link,
                joins,
                super_seed: self.super_seed && role == Role::Seed,
                wishes: seeder::torrent::Wishes::default(),
            })
        };
        add(Role::Seed, link(Some(self.seed_up)).0, Duration::ZERO);
        if self.web_up > 0 {
            add(Role::Web, link(Some(self.web_up)).0, Duration::ZERO);
        }
        let honest = self.peers - self.free_riders - self.liars - self.boasters;
        let roles = [
            (Role::Liar, self.liars),
            (Role::Boaster, self.boasters),
            (Role::FreeRider, self.free_riders),
            (Role::Honest, honest),
        ];
        for (role, count) in roles {
            for number in 0..count {
                let later = role == Role::Honest && number >= honest - self.late;
                let after = if later {
                    20_000 + number as u64 % 60 * 1_000
                } else {
                    0
                };
                let (link, joins) = link(None);
                add(role, link, Duration::from_millis(after) + joins);
            }
        }
        self.trouble(&mut swarm, &mut dice);
        swarm
    }

    /// Who leaves for a while, wants less, or loses something.
    fn trouble(&self, swarm: &mut Swarm, dice: &mut SmallRng) {
        let honest = |(node, member): (usize, &Member)| (member.nature.role == Role::Honest).then_some(node);
        let mut honest: Vec<usize> = swarm.members.iter().enumerate().filter_map(honest).collect();
        honest.truncate(honest.len() - self.late);
        let mut drawn = honest.into_iter().rev();
        for node in drawn.by_ref().take(self.churn) {
            let after = Duration::from_secs(dice.random_range(10..120));
            swarm.restart(node, after, Duration::from_secs(dice.random_range(5..40)));
        }
        for node in drawn.by_ref().take(self.lossy) {
            swarm.lose(node, Duration::from_secs(dice.random_range(60..120)), 10);
        }
        for node in drawn.take(self.partial) {
            let files = [
                seeder::torrent::Priority::Normal,
                seeder::torrent::Priority::Skip,
                seeder::torrent::Priority::Skip,
            ];
            swarm.member(node).nature.wishes.files = files.into();
        }
    }

    /// Runs it to its end.
    pub fn run(&self, seed: u64) -> Outcome {
        let mut swarm = self.swarm(seed);
        let done = swarm.run_until(LIMIT, Swarm::honest_are_done);
        Outcome {
            scene: *self,
            seed,
            done,
            swarm,
        }
    }
}

/// A swarm that has come to its end.
#[derive(Debug)]
pub struct Outcome {
    pub scene: Scene,
    pub seed: u64,
    pub done: bool,
    pub swarm: Swarm,
}

impl Outcome {
    fn of(&self, role: Role) -> impl Iterator<Item = &Member> {
        self.swarm
            .members
            .iter()
            .filter(move |member| member.nature.role == role)
    }

    /// Seconds below which no scheme can finish all honest peers, if it gives nothing to others. Who comes late or leaves for a
    /// while counts for the time that it is there.
    pub fn best(&self) -> f64 {
        let content = self.swarm.geometry.total_length() as f64;
        let givers = || self.of(Role::Seed).chain(self.of(Role::Web));
        let first: f64 = givers().map(|member| member.nature.link.up as f64).sum();
        let down = |member: &Member| {
            member.started.as_millis() as f64 / 1_000.0 + content / member.nature.link.down as f64
        };
        let slowest = self.of(Role::Honest).map(down).fold(0.0, f64::max);
        let wants = |member: &Member| {
            if member.nature.wishes.files.is_empty() {
                1.0
            } else {
                0.5
            }
        };
        let wanted = self.of(Role::Honest).map(wants).sum::<f64>() * content;
        let given_by = |second: u64| {
            let given =
                |member: &Member| member.nature.link.up as f64 * member.there(Moment::from_secs(second));
            givers().chain(self.of(Role::Honest)).map(given).sum::<f64>()
        };
        let all = (1..LIMIT.as_secs()).find(|second| given_by(*second) >= wanted);
        (content / first)
            .max(slowest)
            .max(all.unwrap_or(LIMIT.as_secs()) as f64)
    }

    /// Seconds until each honest peer had all it wanted, in order.
    pub fn times(&self) -> Vec<f64> {
        let took = |member: &Member| member.finished.unwrap_or(LIMIT).as_millis() as f64 / 1_000.0;
        let mut times: Vec<f64> = self.of(Role::Honest).map(took).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    /// The time of the last honest peer as a multiple of the best possible.
    pub fn factor(&self) -> f64 {
        self.times().last().copied().unwrap_or_default() / self.best()
    }

    /// Copies of the content that the seed gave.
    pub fn seed_copies(&self) -> f64 {
        let given: u64 = self.of(Role::Seed).map(|member| member.status().uploaded).sum();
        given as f64 / self.swarm.geometry.total_length() as f64
    }

    /// What a member of this role got from those who miss something themselves, and from others, on average, as parts of
    /// the content.
    pub fn got(&self, role: Role) -> (f64, f64) {
        let all = self.swarm.geometry.total_length() as f64 * self.of(role).count().max(1) as f64;
        let sum = |part: fn(&Member) -> u64| self.of(role).map(part).sum::<u64>() as f64 / all;
        (
            sum(|member| member.from_leechers),
            sum(|member| member.from_seeds),
        )
    }

    /// One line for a table.
    pub fn line(&self) -> String {
        let times = self.times();
        let at = |part: f64| {
            times
                .get((times.len() as f64 * part) as usize)
                .copied()
                .unwrap_or_default()
        };
        let end = self.swarm.now();
        let busy: f64 = self.of(Role::Honest).map(|member| member.busy(end)).sum();
        let wasted: u64 = self.of(Role::Honest).map(|member| member.status().wasted).sum();
        let all = self.swarm.geometry.total_length() as f64 * times.len() as f64;
        let (from_leechers, from_seeds) = self.got(Role::FreeRider);
        format!(
            "{:12} | {:4} | {:6.1} | {:6.1} | {:6.1} | {:6.1} | {:5.2} | {:4.0} % | {:4.1} % | {:5.2} | {:4.2} + {:4.2}",
            self.scene.name,
            self.seed,
            self.best(),
            at(0.5),
            at(0.95),
            times.last().copied().unwrap_or_default(),
            self.factor(),
            busy / times.len() as f64 * 100.0,
            wasted as f64 / all * 100.0,
            self.seed_copies(),
            from_leechers,
            from_seeds,
        )
    }
}
