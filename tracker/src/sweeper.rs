//! Walks the swarms shard by shard and forgets silent peers. `server` starts it and waits for its end; it never holds a lock
//! while it waits, and one pass is spread over its whole period, so that announces never notice.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::swarm::{SHARD_COUNT, Swept};

/// Shards looked at in one go, one lock after the other: well below a millisecond, and one waking a second is enough.
const BATCH: usize = 16;

/// How long one pass over all swarms takes: who has been silent for too long is gone at most this much after its time.
pub const PERIOD: Duration = Duration::from_secs(60);

/// Sweeps until it is told to stop. `sweep` forgets the silent of one shard; `report` learns what each pass has forgotten, the
/// last one cut short.
pub async fn run(
    sweep: impl Fn(usize) -> Swept,
    period: Duration,
    mut report: impl FnMut(Swept),
    stop: CancellationToken,
) {
    let batches = u32::try_from(SHARD_COUNT / BATCH).unwrap_or(u32::MAX);
    let mut ticks = tokio::time::interval((period / batches).max(Duration::from_millis(1)));
    // After the machine has slept there is no hurry to catch up.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pass = Swept::default();
    for first in (0..SHARD_COUNT).step_by(BATCH).cycle() {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => (),
        }
        for shard in first..first + BATCH {
            pass.add(sweep(shard));
        }
        if first + BATCH == SHARD_COUNT {
            report(std::mem::take(&mut pass));
        }
    }
    report(pass);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use shared::announce::AnnounceRequest;
    use shared::id::{InfoHash, PeerId};
    use shared::moment::Moment;
    use tokio::time::Instant;

    use super::*;
    use crate::swarm::{Policy, SwarmLimits, Swarms, Visit};

    fn announce(swarms: &Swarms, torrent: u8, now: Moment) {
        let mut request = AnnounceRequest::new(InfoHash([torrent; 20]), PeerId([0; 20]), 6881);
        request.left = 1;
        let visit = Visit {
            now,
            request: &request,
            sender: [198, 51, 100, 1].into(),
            reached: None,
            policy: &Policy::default(),
        };
        swarms.announce(&visit, &mut SmallRng::seed_from_u64(1), &mut Vec::new());
    }

    #[tokio::test(start_paused = true)]
    async fn the_silent_are_forgotten_a_pass_after_their_time_and_the_sweeper_stops_when_told() {
        let swarms = Arc::new(Swarms::new(SwarmLimits::default(), [1, 2, 3, 4]));
        (0..100).for_each(|torrent| announce(&swarms, torrent, Moment::START));
        let start = Instant::now();
        let now = move || Moment::from_millis(u64::try_from(start.elapsed().as_millis()).unwrap());
        let (stop, (reports, mut passes)) =
            (CancellationToken::new(), tokio::sync::mpsc::unbounded_channel());
        let report = move |swept| reports.send(swept).unwrap();
        let swept = Arc::clone(&swarms);
        let sweep = move |shard| swept.sweep_shard(shard, now(), Duration::from_secs(600));
        let sweeper = tokio::spawn(run(sweep, PERIOD, report, stop.clone()));

        tokio::time::sleep(Duration::from_secs(590)).await;
        assert_eq!(swarms.totals().peers(), 100);
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(swarms.totals().swarms, 0);

        stop.cancel();
        sweeper.await.unwrap();
        let mut forgotten = Swept::default();
        while let Some(pass) = passes.recv().await {
            forgotten.add(pass);
        }
        assert_eq!((forgotten.peers, forgotten.swarms), (100, 100));
    }
}
