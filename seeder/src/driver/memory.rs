//! Memory for blocks between socket and disk: a download waits in line for its share of it, opens its files with it, and gives
//! it back. While it waits it gives what it has to those who ask.

use std::time::Duration;

use tracing::debug;

use super::inside::misses;
use super::{CREDIT_UNIT, Driver, Job};
use crate::disk::{Credit, Opened, Writer};
use crate::torrent::Input;

/// A download that fetches nothing for so long goes to the end of the line, if others wait for the memory that it holds.
const TURN: Duration = Duration::from_secs(2 * 60);

/// A download begins with at least so much credit.
const CREDIT_MIN: usize = 1 << 20;

impl Driver {
    /// Something is to be written: memory for it is asked for, and the disk opened with it.
    pub(super) fn unfinished(&mut self) {
        // What somebody changed in a finished download is his: nothing is written over it before it is checked again.
        if self.spec.is_hands_off() || std::mem::replace(&mut self.in_line, true) {
            return;
        }
        self.watch.ask_again();
        let device = self.shared.devices.of(&self.spec.root());
        self.jobs
            .spawn(async move { Job::Granted(device.credit(CREDIT_MIN / CREDIT_UNIT).await) });
    }

    /// There is memory: the disk is opened when the files are in their places.
    pub(super) fn granted(&mut self, credit: Option<Credit>) {
        self.in_line = false;
        self.watch.ask_again();
        self.credit = credit.filter(|_| self.spec.fetches());
        self.wish();
    }

    pub(super) fn open_disk(&mut self) {
        let Some(bytes) = self
            .credit
            .as_ref()
            .map(|credit| (credit.units() * CREDIT_UNIT) as u64)
        else {
            return;
        };
        if self.writer.is_none()
            && let Some(mut opened) = self.opened.take()
        {
            opened.storage.unseal();
            if let Some(have) = self.torrent.have() {
                opened.have = have.clone();
            }
            self.hold(opened);
            self.fetched.1 = self.shared.clock.now();
            self.tell(Input::Disk { credit: bytes });
        }
    }

    /// Whoever fetches nothing keeps nobody else waiting.
    pub(super) fn share_memory(&mut self) {
        let (now, downloaded) = (self.shared.clock.now(), self.torrent.status().downloaded);
        if self.fetched.0 != downloaded {
            self.fetched = (downloaded, now);
        }
        let idle = self.writer.as_ref().is_some_and(Writer::is_idle) && now.since(self.fetched.1) >= TURN;
        if idle && self.shared.devices.counts.is_memory_short() {
            debug!(torrent = %self.spec.label, "fetches nothing, and goes to the end of the line");
            self.writer = None;
            self.credit = None;
            self.tell(Input::DiskClosed);
        }
    }

    /// Takes the files over; from now on the machine knows what is there.
    pub(super) fn hold(&mut self, opened: Opened) {
        if let Some(credit) = self.credit.as_ref().filter(|_| misses(&self.spec, &opened)) {
            self.writer = Some(Writer::new(
                &opened,
                self.shared.clock,
                (credit.units() * CREDIT_UNIT) as u64,
            ));
        } else {
            self.credit = None;
        }
        self.opened = Some(opened);
    }
}
