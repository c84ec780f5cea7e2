//! The command line's way in: the same answers in process and over `control.sock`.

use axum::http::Method;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::api::bodies::NewMember;
use crate::members::office::MemberCard;
use edge::client::{Client, ClientError, Payload};
use edge::control::{self, Control};
use edge::site::{Manners, Site};

/// The house with its control socket open.
struct Open {
    house: House,
    tasks: TaskTracker,
    stop: CancellationToken,
}

fn site(house: &House, stop: &CancellationToken) -> Arc<Site> {
    let time = Duration::from_secs(10);
    let manners = Manners {
        head_time: time,
        write_time: time,
        head_bytes: 16 * 1024,
    };
    Site::new(house.router.clone(), manners, stop.clone())
}

impl Open {
    async fn new() -> Self {
        let house = House::open().await;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let control = Control::open(house.folder.path(), control::NAME).unwrap();
        tasks.spawn(control.serve(site(&house, &stop), tasks.clone(), stop.clone()));
        Self { house, tasks, stop }
    }

    async fn clients(&self) -> [Client; 2] {
        [
            Client::connect(self.house.folder.path()).await.unwrap(),
            Client::in_process(self.house.router.clone()),
        ]
    }

    async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn new(name: &str) -> Payload {
    let json = json!({ "name": name });
    Payload::json(&serde_json::from_value::<NewMember>(json).unwrap()).unwrap()
}

#[tokio::test]
async fn both_ways_have_the_owners_rights_and_say_the_same() {
    let open = Open::new().await;
    for (client, name) in open.clients().await.into_iter().zip(["Ada", "Bob"]) {
        let answer = client.send(Method::POST, "/members", new(name)).await.unwrap();
        let card: MemberCard = answer.read().unwrap();
        assert_eq!(card.name, name);
        assert!(card.passkey.is_some());
        let refused = client.send(Method::POST, "/members", new(name)).await.unwrap();
        let error = refused.read::<MemberCard>().unwrap_err();
        assert!(
            matches!(&error, ClientError::Refused { status: StatusCode::CONFLICT, detail } if detail.contains(name)),
            "{error}"
        );
        let torrent = Payload::Torrent(TORRENT.into());
        let sent = client.send(Method::POST, "/torrents", torrent).await.unwrap();
        assert!(sent.status == 201 || sent.status == 409);
    }
    open.close().await;
}

#[tokio::test]
async fn a_large_file_crosses_the_socket_whole() {
    let open = Open::new().await;
    let [client, _] = open.clients().await;
    let pieces = 400_000;
    let size = pieces * 16_384_u64;
    let head = format!(
        "d4:infod6:lengthi{size}e4:name3:big12:piece lengthi16384e6:pieces{}:",
        pieces * 20
    );
    let mut torrent = head.into_bytes();
    torrent.extend((0..pieces * 20).map(|number| u8::try_from(number % 251).unwrap()));
    torrent.extend(b"ee");
    let payload = Payload::Torrent(torrent.clone().into());
    let answer = client.send(Method::POST, "/torrents", payload).await.unwrap();
    let card: Value = answer.read().unwrap();
    client.send(Method::POST, "/members", new("Ada")).await.unwrap();
    let path = format!(
        "/torrents/{}/file?member=Ada",
        card["info_hash_v1"].as_str().unwrap()
    );
    let answer = client.send(Method::GET, &path, Payload::Nothing).await.unwrap();
    let file = answer.bytes().unwrap();
    assert!(file.len() > torrent.len());
    open.close().await;
}

#[tokio::test]
async fn where_no_tracker_runs_nobody_answers() {
    let folder = tempfile::tempdir().unwrap();
    for folder in [folder.path(), &folder.path().join("nothing")] {
        let error = Client::connect(folder).await.unwrap_err();
        assert!(matches!(error, ClientError::Absent), "{error}");
    }
    let open = Open::new().await;
    let [client, _] = open.clients().await;
    let folder = open.house.folder.path().to_owned();
    let Open { house, tasks, stop } = open;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    let error = client
        .send(Method::GET, "/stats", Payload::Nothing)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Absent), "{error}");
    assert!(!folder.join("control.sock").exists());
    drop(house);
}

#[tokio::test]
async fn a_slow_body_does_not_hold_a_connection_of_the_public_port() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let house = House::open().await;
    let stop = CancellationToken::new();
    let site = site(&house, &stop);
    let (mut stranger, served) = tokio::io::duplex(4_096);
    let caller = Caller::from(SOMEWHERE.parse::<IpAddr>().unwrap());
    tokio::time::pause();
    let serving = tokio::spawn(async move { site.serve(served, Vec::new(), caller).await });
    let request = "POST /api/v1/owner HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{";
    stranger.write_all(request.as_bytes()).await.unwrap();
    let mut heard = String::new();
    stranger.read_to_string(&mut heard).await.unwrap();
    assert!(heard.starts_with("HTTP/1.1 408 "), "{heard}");
    serving.await.unwrap().unwrap();
}
