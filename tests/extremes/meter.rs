//! What a running program takes: looked up in `/proc` again and again until it is gone.

use std::fs;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::measure::{Cpu, wall};

/// How often it looks. The resident set's peak is the kernel's own, so only what grows in the last moments is missed.
const PAUSE: Duration = Duration::from_millis(10);

/// What a program took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// KiB of the resident set at its peak, as the kernel keeps it.
    pub peak: u64,
    /// Open descriptors, the most that were seen at once.
    pub descriptors: usize,
    /// Bytes that its system calls have read, from files and sockets.
    pub read: u64,
    pub cpu: f64,
    pub seconds: f64,
}

/// Watches one program.
#[derive(Debug)]
pub struct Meter {
    pid: u32,
    begun: Instant,
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Figures>,
}

impl Meter {
    pub fn watch(pid: u32) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut figures = Figures::default();
            while matches!(stopped.recv_timeout(PAUSE), Err(mpsc::RecvTimeoutError::Timeout)) {
                look(pid, &mut figures);
            }
            figures
        });
        Self {
            pid,
            begun: wall(),
            stop,
            thread,
        }
    }

    /// KiB of the resident set at this moment.
    pub fn resident(&self) -> u64 {
        field(self.pid, "status", "VmRSS:").unwrap_or_default()
    }

    /// What it took until now.
    pub fn read(self) -> Figures {
        let seconds = self.begun.elapsed().as_secs_f64();
        drop(self.stop);
        let mut figures = self.thread.join().unwrap_or_default();
        // A program that has gone keeps what was seen of it.
        look(self.pid, &mut figures);
        Figures { seconds, ..figures }
    }
}

fn look(pid: u32, figures: &mut Figures) {
    let higher = |seen: &mut u64, now: Option<u64>| *seen = (*seen).max(now.unwrap_or_default());
    higher(&mut figures.peak, field(pid, "status", "VmHWM:"));
    higher(&mut figures.read, field(pid, "io", "rchar:"));
    if let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) {
        figures.descriptors = figures.descriptors.max(open.count());
    }
    if let Ok(cpu) = Cpu::of(pid) {
        figures.cpu = figures.cpu.max(cpu.total());
    }
}

fn field(pid: u32, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
