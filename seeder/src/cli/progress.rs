//! Long work shown to the person who waits for it: a bar on a terminal, a plain line now and then elsewhere, always on
//! standard error.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::tell;
use crate::library::progress::Progress;

/// How often a plain line is written where there is no terminal: seldom, since it lands in somebody's log.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// How often the work is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes on their way from none to all.
#[derive(Debug)]
pub struct Bar {
    label: &'static str,
    /// Keeps the time, also where it draws nothing.
    drawn: ProgressBar,
    on_terminal: bool,
    /// When the last plain line was due.
    line_at: Duration,
}

impl Bar {
    /// Begins to show work, labelled by what is done, as in "hashing". The time counts from now.
    pub fn start(label: &'static str) -> Self {
        let on_terminal = io::stderr().is_terminal();
        let target = if on_terminal {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target).with_message(label);
        // A template is text of ours; were it ever wrong, the default bar would do.
        if let Ok(style) = ProgressStyle::with_template(
            "{msg} {bar:30} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left",
        ) {
            bar.set_style(style);
        }
        Self {
            label,
            drawn: bar,
            on_terminal,
            line_at: Duration::ZERO,
        }
    }

    /// Shows how far the work has come.
    pub fn show(&mut self, done: u64, total: u64) {
        self.drawn.set_length(total);
        self.drawn.set_position(done);
        let elapsed = self.drawn.elapsed();
        if !self.on_terminal && elapsed >= self.line_at + LINE_INTERVAL {
            self.line_at = elapsed;
            tell(line(self.label, done, total, elapsed));
        }
    }

    /// Takes the bar away and says how long it stood.
    pub fn finish(self) -> Duration {
        let elapsed = self.drawn.elapsed();
        self.drawn.finish_and_clear();
        elapsed
    }
}

/// Does the work while a second thread shows its progress. Says how long it took.
pub fn watch<T>(label: &'static str, progress: &Progress, work: impl FnOnce() -> T) -> (T, Duration) {
    std::thread::scope(|scope| {
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let watcher = scope.spawn(move || {
            let mut bar = Bar::start(label);
            // The channel closes when the work ends.
            while is_done.recv_timeout(LOOK_INTERVAL) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                bar.show(progress.done(), progress.total());
            }
            bar.finish()
        });
        let result = work();
        drop(done);
        (result, watcher.join().unwrap_or_default())
    })
}

/// So many bytes a second, as people compare disks by.
pub fn rate(bytes: u64, elapsed: Duration) -> f64 {
    real(bytes) / elapsed.as_secs_f64().max(1e-6)
}

#[expect(clippy::cast_precision_loss, reason = "rates are shown with three digits")]
fn real(bytes: u64) -> f64 {
    bytes as f64
}

fn line(label: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0);
    let rate = rate(done, elapsed);
    let left = if rate > 0.0 {
        let left =
            Duration::try_from_secs_f64(real(total.saturating_sub(done)) / rate).unwrap_or(Duration::MAX);
        format!(", {} left", HumanDuration(left))
    } else {
        String::new()
    };
    format!("{label}: {percent} %, {:.2} GB/s{left}", rate / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_says_how_far_how_fast_and_how_long_still() {
        let shown = line("hashing", 2_000_000_000, 8_000_000_000, Duration::from_secs(4));
        assert_eq!(shown, "hashing: 25 %, 0.50 GB/s, 12 seconds left");
    }

    #[test]
    fn nothing_done_and_nothing_known_is_a_line_too() {
        assert_eq!(line("hashing", 0, 0, Duration::ZERO), "hashing: 0 %, 0.00 GB/s");
    }

    #[test]
    fn watched_work_gives_its_result() {
        let progress = Progress::default();
        let (result, _) = watch("hashing", &progress, || {
            progress.expect(5);
            progress.add(5);
            progress.done()
        });
        assert_eq!(result, 5);
    }
}
