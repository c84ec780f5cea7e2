//! What people ask of one torrent. Each order notes in the torrent's row what is to become of it, interrupts whoever works on
//! it, and lets [`Table::settle`] do the rest.

use std::iter;
use std::sync::Arc;

use shared::metainfo::Info;
use tracing::info;
use url::Url;

use super::api::{Event, Mode, Options, TorrentKey};
use super::change::{Change, ChangeError, Content, Rates};
use super::entry::{Answer, Removal, State};
use super::process::connections_per_torrent;
use super::table::{Order, Table};
use crate::discovery::trackers;
use crate::driver::Command;
use crate::torrent::Priority;
use crate::torrent::schedule::Rule;

/// Peers that may be told at once.
const PEERS_MAX: usize = 1_000;

impl Table {
    pub(super) async fn order(&mut self, key: TorrentKey, order: Order, answer: Answer<(), ChangeError>) {
        if self
            .torrents
            .get(&key)
            .is_none_or(|entry| entry.removal.is_some())
        {
            // Whoever asked may have gone, here and below.
            _ = answer.send(Err(ChangeError::Unknown));
            return;
        }
        let noted = matches!(order, Order::Pause | Order::Resume | Order::Change(_));
        let done = match order {
            Order::Remove(content) => return self.remove(key, content, answer).await,
            Order::Relocate(root) => return self.relocate(key, root, answer),
            Order::Rename(file, to) => return self.rename(key, file, to, answer),
            Order::Pause => self.pause(key, None).await,
            Order::Resume => self.resume(key).await,
            Order::Announce { force } => self.announce_now(key, force).await,
            Order::Recheck(check) => {
                if let Some(entry) = self.torrents.get_mut(&key) {
                    entry.recheck = Some(check);
                }
                self.disturb(key).await
            }
            Order::Change(change) => self.change(key, *change).await,
            Order::Peers(mut addresses) => {
                addresses.truncate(PEERS_MAX);
                self.command(key, Command::Peers(addresses));
                Ok(())
            }
        };
        if noted {
            self.answer_when_kept(answer, done);
        } else {
            _ = answer.send(done);
        }
    }

    async fn remove(&mut self, key: TorrentKey, content: Content, answer: Answer<(), ChangeError>) {
        let Some(entry) = self.torrents.get_mut(&key) else {
            return;
        };
        if content == Content::Delete && entry.spec.mode == Mode::Seed {
            _ = answer.send(Err(ChangeError::OnlyGiven));
            return;
        }
        let mut removal = Removal::new(content);
        removal.answers.push(answer);
        entry.removal = Some(Box::new(removal));
        _ = self.disturb(key).await;
    }

    /// Ends whoever works on it, if somebody does; what was noted is done after that.
    pub(super) async fn disturb(&mut self, key: TorrentKey) -> Result<(), ChangeError> {
        if let Some(entry) = self.torrents.get_mut(&key) {
            if matches!(entry.state, State::Broken(_))
                && entry.spec.info().is_some()
                && entry.removal.is_none()
            {
                // What it was that broke it may be over.
                entry.recheck.get_or_insert_default();
            }
            entry.interrupt();
        }
        // One that waits for its turn to be looked at has nobody who could be interrupted.
        if self.withdraw(key)
            && let Some(entry) = self.torrents.get_mut(&key)
        {
            entry.set_state(entry.unlooked());
        }
        self.settle(key).await;
        Ok(())
    }

    pub(super) async fn pause(
        &mut self,
        key: TorrentKey,
        reached: Option<String>,
    ) -> Result<(), ChangeError> {
        let Some(entry) = self.torrents.get_mut(&key) else {
            return Err(ChangeError::Unknown);
        };
        if entry.paused && reached.is_none() {
            return Ok(());
        }
        entry.paused = true;
        entry.reached = reached.map(Into::into);
        self.remember(key);
        self.shared.event(Event::Changed { key });
        self.silence(key).await;
        self.disturb(key).await
    }

    async fn resume(&mut self, key: TorrentKey) -> Result<(), ChangeError> {
        let given = self.given(key);
        let Some(entry) = self.torrents.get_mut(&key) else {
            return Err(ChangeError::Unknown);
        };
        if !entry.paused && !matches!(entry.state, State::Broken(_)) {
            return Ok(());
        }
        entry.paused = false;
        if entry.reached.take().is_some() {
            // Whoever wants more than was agreed on wants it beyond every goal that was reached.
            let mut options = Options::clone(&entry.spec.options());
            while let Some(reached) = options.goals.reached(&given) {
                super::chores::waive(&mut options.goals, reached);
            }
            entry.spec.set_options(Arc::new(options));
        }
        if matches!(entry.state, State::Broken(_)) {
            entry.recheck.get_or_insert_default();
        }
        self.remember(key);
        self.shared.event(Event::Changed { key });
        self.settle(key).await;
        Ok(())
    }

    async fn announce_now(&mut self, key: TorrentKey, force: bool) -> Result<(), ChangeError> {
        let entry = self.torrents.get(&key).ok_or(ChangeError::Unknown)?;
        if entry.paused {
            let why = "it is paused, and its trackers think that it is gone; resume it first";
            return Err(ChangeError::NotNow(why.to_owned()));
        }
        if entry.spec.trackers().is_empty() {
            return Err(ChangeError::NotNow("it has no trackers".to_owned()));
        }
        if force {
            self.shared.trackers.insist(key).await;
        } else {
            self.shared.trackers.want_peers(key).await;
        }
        Ok(())
    }

    async fn change(&mut self, key: TorrentKey, change: Change) -> Result<(), ChangeError> {
        let entry = self.torrents.get_mut(&key).ok_or(ChangeError::Unknown)?;
        let spec = Arc::clone(&entry.spec);
        check_urls(change.trackers.iter().flatten().flatten())?;
        let old = spec.options();
        let mut options = Options::clone(&old);
        options.wishes = change.wishes.unwrap_or(options.wishes);
        options.limits = change.limits.unwrap_or(options.limits);
        options.goals = change.goals.unwrap_or(options.goals);
        options.super_seed = change.super_seed.unwrap_or(options.super_seed);
        options.web_seeds = change.web_seeds.unwrap_or(options.web_seeds);
        check_options(&options, spec.info().map(|info| &**info))?;
        let other_files = options.wishes.files != old.wishes.files;
        if wants_more(&old.wishes.files, &options.wishes.files) && !spec.is_hands_off() {
            // Of what was not wanted until now, nobody has changed anything.
            spec.set_done(false);
        }
        let awake = matches!(entry.state, State::Awake(_));
        spec.set_options(Arc::new(options));
        entry.measure();
        if let Some(urls) = change.trackers {
            self.change_trackers(key, &urls).await;
        }
        if awake {
            self.command(key, Command::Treat);
        } else if other_files && spec.mode == Mode::Get {
            // More may be wanted than was.
            self.disturb(key).await?;
        }
        self.remember(key);
        self.shared.event(Event::Changed { key });
        Ok(())
    }

    async fn change_trackers(&mut self, key: TorrentKey, urls: &[Vec<String>]) {
        let tiers = trackers::tiers(urls);
        let Some(entry) = self.torrents.get_mut(&key) else {
            return;
        };
        entry.spec.set_trackers(Arc::clone(&tiers));
        entry.complaint = None;
        if entry.announced && !tiers.is_empty() {
            self.shared.trackers.change(key, tiers).await;
        } else if entry.announced {
            self.silence(key).await;
        } else if !entry.paused {
            self.announce(key).await;
        }
    }

    pub(super) fn set_rates(&mut self, rates: Rates) -> Result<(), ChangeError> {
        let rules: Result<Vec<Rule>, _> = rates.schedule.iter().map(|rule| rule.parse()).collect();
        self.chores.rules = rules.map_err(|error| ChangeError::Refused(error.to_string()))?;
        let each = connections_per_torrent(&rates);
        self.shared
            .connections_per_torrent
            .store(each, std::sync::atomic::Ordering::Relaxed);
        let all = rates.connections.unwrap_or(self.shared.connections);
        self.shared.places.set(self.shared.descriptors.bound(all));
        info!(?rates, "rates");
        self.rates = rates;
        self.apply_rates();
        let awake = self.torrents.iter().filter(|(_, entry)| entry.is_busy());
        let awake: Vec<TorrentKey> = awake.map(|(key, _)| *key).collect();
        for key in awake {
            self.command(key, Command::Treat);
        }
        Ok(())
    }
}

/// What can be known to be wrong before a torrent is treated so.
pub(super) fn check_options(options: &Options, info: Option<&Info>) -> Result<(), ChangeError> {
    let refused = |why: &str| Err(ChangeError::Refused(why.to_owned()));
    if let Some(info) = info
        && options.wishes.files.len() > info.files().len()
    {
        return Err(ChangeError::NoSuchFile(options.wishes.files.len() - 1));
    }
    let ratio = options.goals.ratio;
    if ratio.is_some_and(|ratio| !ratio.is_finite() || ratio < 0.0) {
        return refused("a ratio is a number from 0 on");
    }
    let limits = &options.limits;
    if limits.upload == Some(0) || limits.download == Some(0) {
        return refused("a rate of 0 would be a pause: pause the torrent");
    }
    if limits.connections == Some(0) || limits.upload_slots == Some(0) {
        return refused("no connections at all would be a pause: pause the torrent");
    }
    check_urls(&options.web_seeds)
}

fn check_urls<'a>(urls: impl IntoIterator<Item = &'a String>) -> Result<(), ChangeError> {
    for url in urls {
        let parsed = Url::parse(url).map_err(|error| ChangeError::Refused(format!("{url}: {error}")))?;
        if !matches!(parsed.scheme(), "http" | "https" | "udp") || parsed.host().is_none() {
            return Err(ChangeError::Refused(format!(
                "{url}: neither http:// nor https:// with a host"
            )));
        }
    }
    Ok(())
}

/// Is a file wanted that was not? Files beyond the end of a list are wanted.
fn wants_more(old: &[Priority], new: &[Priority]) -> bool {
    let new = new.iter().copied().chain(iter::repeat(Priority::Normal));
    old.iter()
        .zip(new)
        .any(|(old, new)| *old == Priority::Skip && new != Priority::Skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_was_not_wanted_is_one_more() {
        use Priority::{High, Low, Normal, Skip};
        for (old, new) in [
            (&[][..], &[Normal, Low, Skip][..]),
            (&[Skip], &[Skip, Normal]),
            (&[High], &[]),
        ] {
            assert!(!wants_more(old, new), "{old:?} {new:?}");
        }
        for (old, new) in [(&[Normal, Skip][..], &[Skip, Low][..]), (&[Skip], &[])] {
            assert!(wants_more(old, new), "{old:?} {new:?}");
        }
    }
}
