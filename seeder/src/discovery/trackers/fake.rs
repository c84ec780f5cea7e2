//! A tracker for tests that keeps its connections and counts them, and remembers who told it what.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shared::announce::{AnnounceRequest, Event};
use shared::id::InfoHash;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Nothing here takes a second on an idle machine; a busy one may need more.
const PATIENCE: Duration = Duration::from_secs(60);

/// One announce as it was heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) info_hash: InfoHash,
    pub(crate) event: Event,
    pub(crate) left: u64,
}

#[derive(Debug, Default)]
struct Heard {
    told: Vec<Told>,
    open: usize,
    most_open: usize,
    connections: usize,
}

/// The tracker; it answers until the test ends.
#[derive(Clone, Debug)]
pub(crate) struct Counting {
    pub(crate) url: String,
    heard: Arc<Mutex<Heard>>,
    news: Arc<Notify>,
}

impl Counting {
    /// Answers everyone that nobody else is there, and that it is to be asked again in half an hour.
    pub(crate) async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    /// The same at an address that was somebody else's.
    pub(crate) async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let tracker = Self {
            url: format!("http://{}/announce", listener.local_addr().unwrap()),
            heard: Arc::default(),
            news: Arc::default(),
        };
        let receiving = tracker.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tracker = receiving.clone();
                tokio::spawn(async move { tracker.serve(stream).await });
            }
        });
        tracker
    }

    async fn serve(&self, stream: TcpStream) {
        self.note(|heard| {
            heard.connections += 1;
            heard.open += 1;
            heard.most_open = heard.most_open.max(heard.open);
        });
        self.answer(stream).await;
        self.note(|heard| heard.open -= 1);
    }

    async fn answer(&self, stream: TcpStream) {
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(query) = line.split(' ').nth(1).and_then(|target| target.split_once('?')) {
                let asked = AnnounceRequest::parse(query.1.as_bytes()).unwrap();
                let told = Told {
                    info_hash: asked.info_hash,
                    event: asked.event,
                    left: asked.left,
                };
                self.note(|heard| heard.told.push(told));
            }
            if line.is_empty() {
                let body = "d8:intervali1800e12:min intervali60e5:peers0:e";
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                if writer.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }

    fn note(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.heard.lock().unwrap());
        self.news.notify_waiters();
    }

    /// All that was told so far.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.heard.lock().unwrap().told.clone()
    }

    /// How many announces of this event were heard.
    pub(crate) fn count(&self, event: Event) -> usize {
        self.told().iter().filter(|told| told.event == event).count()
    }

    /// Connections in all, and those that were open at the same time.
    pub(crate) fn connections(&self) -> (usize, usize) {
        let heard = self.heard.lock().unwrap();
        (heard.connections, heard.most_open)
    }

    /// Waits until what was told is so.
    pub(crate) async fn until(&self, is_so: impl Fn(&[Told]) -> bool) {
        let wait = async {
            loop {
                let news = self.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                if is_so(&self.heard.lock().unwrap().told) {
                    return;
                }
                news.await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, wait).await;
        assert!(in_time.is_ok(), "never told so: {} announces", self.told().len());
    }
}
