//! What the benches share: a clock, a process's CPU time from the kernel, medians, and free ports.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Wall time; a bench measures the real one.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures real time; nothing it measures is asserted"
)]
pub fn wall() -> Instant {
    Instant::now()
}

/// User and system seconds of a whole process, all its threads, as the kernel counts them (ticks of 10 ms).
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    pub user: f64,
    pub system: f64,
}

impl Cpu {
    /// Reads `/proc/PID/stat`.
    pub fn of(pid: u32) -> io::Result<Self> {
        Self::read(&pid.to_string(), 11)
    }

    fn read(process: &str, user: usize) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The second field is the name in brackets and may hold anything; the counters follow the last bracket.
        let fields: Vec<&str> = text
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |at: usize| {
            fields
                .get(at)
                .and_then(|field| field.parse::<f64>().ok())
                .unwrap_or_default()
        };
        Ok(Self {
            user: ticks(user) / 100.0,
            system: ticks(user + 1) / 100.0,
        })
    }

    /// What all programs took that this one started and has waited for.
    pub fn of_children() -> io::Result<Self> {
        Self::read("self", 13)
    }

    pub fn total(self) -> f64 {
        self.user + self.system
    }

    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
        }
    }
}

/// Lowest, middle and highest of some figures.
pub fn spread(figures: &[f64]) -> (f64, f64, f64) {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    (at(0), at(sorted.len() / 2), at(sorted.len().saturating_sub(1)))
}

/// `min / med / max` with so many decimals.
pub fn triple(figures: &[f64], decimals: usize) -> String {
    let (low, middle, high) = spread(figures);
    format!("{low:.decimals$} / {middle:.decimals$} / {high:.decimals$}")
}

/// An address that was free a moment ago, for programs that cannot pick one themselves.
pub fn free_address(ip: Ipv4Addr) -> io::Result<SocketAddr> {
    TcpListener::bind((ip, 0))?.local_addr()
}

/// A program built beside this bench.
pub fn built_beside(name: &str) -> io::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    let hint = format!(
        "{} is missing: run tests/bench/run, which builds it",
        path.display()
    );
    Err(io::Error::new(io::ErrorKind::NotFound, hint))
}

/// A program in the path, if it is installed.
pub fn installed(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// A running program, killed when dropped.
#[derive(Debug)]
pub struct Running(pub Child);

impl Running {
    /// Starts a program on one core, or on all.
    pub fn start(core: Option<usize>, program: &Path, arguments: &[String]) -> io::Result<Self> {
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(core.to_string()).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().map(Self)
    }

    /// `taskset` becomes the program it starts, so this is the program's own id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Running {
    /// Asks it to end, and waits so long before it is killed.
    pub fn stop(&mut self, patience: Duration) -> io::Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM)?;
        }
        let begun = wall();
        while self.0.try_wait()?.is_none() {
            if begun.elapsed() > patience {
                self.0.kill()?;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
