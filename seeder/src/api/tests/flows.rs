//! What can be asked of torrents, and how what cannot be meant is refused.

use serde_json::json;

use super::*;

#[tokio::test]
async fn bodies_of_another_kind_or_size_are_refused() {
    let house = House::open().await;
    let path = format!("/torrents?root={}", house.folder.path().display());
    let sent = |kind: &'static str, body: Vec<u8>| house.send("POST", &path, kind, body);
    sent("text/plain", TORRENT.to_vec())
        .await
        .is_problem(415, "application/x-bittorrent");
    sent("application/x-bittorrent", b"d3:abc".to_vec())
        .await
        .is_problem(422, "cannot be used");
    sent("application/json", b"{".to_vec())
        .await
        .is_problem(400, "not JSON");
    sent("application/json", vec![b' '; 65 * 1024])
        .await
        .is_problem(413, "64 KiB");
    sent("application/x-bittorrent", vec![b'i'; 33 << 20])
        .await
        .is_problem(413, "32768 KiB");
    house
        .send("PATCH", "/limits", "application/json", vec![b' '; 65 * 1024])
        .await
        .is_problem(413, "64 KiB");
}

#[tokio::test]
async fn a_name_that_names_nothing_is_told_so_on_every_route() {
    let house = House::open().await;
    for rule in crate::api::table::TABLE {
        if !rule.path.contains("{hash}") {
            continue;
        }
        let path = rule.path.replace("{hash}", "ffffffff");
        let body = match path.rsplit('/').next() {
            Some("peers") => json!({ "peers": ["192.0.2.9:1"] }),
            Some("move") => json!({ "root": "/somewhere" }),
            Some("rename") => json!({ "file": 0, "to": "b" }),
            _ => json!({}),
        };
        let answer = house.json(rule.method, &path, body).await;
        answer.is_problem(404, "there is no torrent ffffffff");
    }
}

#[tokio::test]
async fn stats_tell_where_the_process_listens() {
    let house = House::open().await;
    let stats = house.get("/stats").await.value();
    assert_eq!(stats["torrents"], 0);
    assert_eq!(stats["pid"], std::process::id());
    assert!(stats["listen"][0].as_str().unwrap().starts_with("127.0.0.1:"));
}
