//! The API of a tracker that runs: numbers from memory, announces to watch, settings to reload.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::api::{ReloadWanted, Running};
use crate::http::trace::{Traced, Tracer};
use crate::members::books::{Books, BooksParts, BooksSettings};
use crate::members::ids::MemberId;
use crate::swarm::SwarmLimits;
use crate::swarm::private::PrivateSwarms;
use edge::client::{Client, Lines};

/// A house with everything that runs in it.
struct Alive {
    house: House,
    tracer: Arc<Tracer>,
    reloads: mpsc::Receiver<ReloadWanted>,
    _books: AbortOnDropHandle<()>,
}

impl Alive {
    async fn start() -> Self {
        let house = House::open().await;
        let parts = &house.api.parts;
        let swarms = Arc::new(PrivateSwarms::new(SwarmLimits::default(), [1; 4]));
        let books = Books::open(BooksParts {
            store: parts.store.clone(),
            swarms: Arc::clone(&swarms),
            directory: Arc::clone(parts.office.directory()),
            register: Arc::clone(parts.office.register()),
            folder: house.folder.path().to_owned(),
            clock: parts.clock,
            settings: BooksSettings {
                flush_every: Duration::from_secs(5),
                snapshot_every: Duration::from_secs(300),
            },
        });
        let books = books.await.unwrap();
        let running = tokio::spawn(Arc::clone(&books).run(CancellationToken::new()));
        let tracer = Tracer::new();
        let (reload, reloads) = mpsc::channel(1);
        house.api.run(Running {
            books,
            swarms,
            tracer: Arc::clone(&tracer),
            reload,
        });
        Self {
            house,
            tracer,
            reloads,
            _books: AbortOnDropHandle::new(running),
        }
    }

    fn id(&self, name: &str) -> MemberId {
        self.house.api.office().member_id(name).unwrap()
    }

    async fn watch(&self, name: &str) -> Lines {
        let client = Client::in_process(self.house.router.clone());
        client.follow(&format!("/members/{name}/trace")).await.unwrap()
    }
}

fn traced(member: MemberId, uploaded: u64) -> Traced {
    Traced {
        time: "2027-01-15T08:00:00Z".to_owned(),
        member: member.0,
        client: "Transmission 3.00".to_owned(),
        torrent: None,
        address: "192.0.2.0/24".to_owned(),
        event: "started",
        uploaded,
        downloaded: 0,
        left: 0,
        answered: "peers",
        peers: 3,
        uploaded_credit: 0,
        downloaded_credit: 0,
        why: None,
    }
}

async fn line(lines: &mut Lines) -> Option<Value> {
    let line = lines.next().await.unwrap()?;
    Some(serde_json::from_slice(&line).unwrap())
}

#[tokio::test]
async fn a_trace_shows_one_members_announces_until_the_tracker_stops() {
    let alive = Alive::start().await;
    alive.house.member("Ada").await;
    alive.house.member("Bob").await;
    let (ada, bob) = (alive.id("Ada"), alive.id("Bob"));
    let mut lines = alive.watch("ada").await;
    alive.tracer.note(traced(bob, 1));
    alive.tracer.note(traced(ada, 2));
    let shown = line(&mut lines).await.unwrap();
    assert_eq!((&shown["member"], &shown["uploaded"]), (&json!("Ada"), &json!(2)));
    for number in 0..1_030 {
        alive.tracer.note(traced(ada, number));
    }
    assert_eq!(line(&mut lines).await.unwrap(), json!({ "missed": 6 }));
    assert_eq!(line(&mut lines).await.unwrap()["uploaded"], 6);
    alive.tracer.close();
    // What waits may still be told; then it ends.
    while line(&mut lines).await.is_some() {}
    drop(lines);
    assert!(!alive.tracer.is_heard());
}

#[tokio::test]
async fn a_silent_trace_shows_that_it_is_alive_and_there_are_not_too_many() {
    let alive = Alive::start().await;
    alive.house.member("Ada").await;
    let mut all = Vec::new();
    for _ in 0..16 {
        all.push(alive.watch("Ada").await);
    }
    let one_more = alive.house.hear(ask("GET", "/members/Ada/trace").here()).await;
    one_more.is_problem(503, "too many traces");
    drop(all);
    let answer = alive.house.raw(ask("GET", "/members/Ada/trace").here()).await;
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let mut body = answer.into_body();
    tokio::time::pause();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "\n");
}

#[tokio::test]
async fn settings_are_reloaded_by_whoever_knows_them_or_refused_with_the_reason() {
    let mut alive = Alive::start().await;
    for (answer, status, words) in [
        (
            Ok(vec!["announce.interval_secs is 900 now".to_owned()]),
            200,
            "900 now",
        ),
        (Err("line 3: no such key".to_owned()), 422, "line 3"),
    ] {
        let asking = alive.house.hear(ask("POST", "/reload").here());
        let answering = async { alive.reloads.recv().await.unwrap().answer.send(answer).unwrap() };
        let (heard, ()) = tokio::join!(asking, answering);
        assert_eq!(heard.status, status);
        assert!(heard.words().contains(words), "{}", heard.words());
    }
    let (lost, ()) = tokio::join!(alive.house.hear(ask("POST", "/reload").here()), async {
        drop(alive.reloads.recv().await);
    });
    lost.is_problem(503, "stopping");
}

#[tokio::test]
async fn a_running_trackers_numbers_have_its_swarms() {
    let alive = Alive::start().await;
    let stats = alive.house.do_here("GET", "/stats", &json!({})).await;
    let none = json!({ "torrents": 0, "seeders": 0, "leechers": 0 });
    assert_eq!(stats["swarms"], none);
}
