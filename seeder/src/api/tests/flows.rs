//! What can be asked of torrents, and how what cannot be meant is refused.

use serde_json::json;

use super::*;

const HASHLESS: &str = "magnet:?dn=nothing";
const LINK: &str = "magnet:?xt=urn:btih:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa&dn=album";

#[tokio::test]
async fn a_torrent_comes_as_a_file_and_is_in_the_list() {
    let house = House::open().await;
    let hash = house.with_torrent().await;
    let list = house.get("/torrents").await.value();
    assert_eq!(list["total"], 1);
    assert_eq!(list["torrents"][0]["info_hash_v1"], hash);
    let again = format!("/torrents?root={}", house.folder.path().display());
    let again = house
        .send("POST", &again, "application/x-bittorrent", TORRENT)
        .await;
    again.is_problem(409, "is here already");
}

#[tokio::test]
async fn the_list_has_pages_and_can_be_searched() {
    let house = House::open().await;
    let hash = house.with_torrent().await;
    let link = json!({ "magnet": LINK, "root": house.folder.path(), "paused": true });
    assert_eq!(house.json("POST", "/torrents", link).await.status, 201);
    for (query, total, shown) in [
        ("", 2, 2),
        ("?limit=1", 2, 1),
        ("?offset=1", 2, 1),
        ("?offset=9", 2, 0),
        ("?search=ALB", 1, 1),
        ("?search=nothing", 0, 0),
        (&format!("?search={}", hash.get(..8).unwrap()), 1, 1),
    ] {
        let list = house.get(&format!("/torrents{query}")).await.value();
        let count = list["torrents"].as_array().unwrap().len();
        assert_eq!((&list["total"], count), (&json!(total), shown), "{query}");
    }
    house
        .get("/torrents?stage=happy")
        .await
        .is_problem(400, "no stage");
    house.get("/torrents?colour=red").await.is_problem(400, "colour");
}

#[tokio::test]
async fn what_cannot_be_added_is_refused_with_the_reason() {
    let house = House::open().await;
    let root = house.folder.path();
    for (body, status, words) in [
        (json!({ "magnet": LINK }), 422, "root is missing"),
        (json!({ "magnet": LINK, "root": "here" }), 422, "no whole path"),
        (json!({ "magnet": LINK, "root": "/a/../b" }), 422, "no whole path"),
        (
            json!({ "magnet": HASHLESS, "root": root }),
            422,
            "names no torrent",
        ),
        (json!({ "root": root }), 422, "either magnet"),
        (
            json!({ "magnet": LINK, "path": "/x", "root": root }),
            422,
            "either magnet",
        ),
        (
            json!({ "path": "/no/such.torrent", "root": root }),
            422,
            "/no/such.torrent",
        ),
        (
            json!({ "magnet": LINK, "root": root, "mode": "seed" }),
            422,
            "needs the .torrent",
        ),
        (
            json!({ "magnet": LINK, "root": root, "colour": 1 }),
            422,
            "colour",
        ),
        (
            json!({ "magnet": LINK, "root": root, "options": { "ratio": -1 } }),
            422,
            "ratio -1",
        ),
        (
            json!({ "magnet": LINK, "root": root, "options": { "upload": 0 } }),
            422,
            "pause",
        ),
        (
            json!({ "magnet": LINK, "root": root, "options": { "web_seeds": ["ftp://x/"] } }),
            422,
            "web_seeds",
        ),
        (json!([]), 422, "expected"),
    ] {
        let answer = house.json("POST", "/torrents", body.clone()).await;
        assert!(answer.text().contains(words), "{body}: {}", answer.text());
        answer.is_problem(status, words);
    }
    assert_eq!(house.get("/torrents").await.value()["total"], 0);
}

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
async fn limits_change_one_by_one_and_null_takes_one_away() {
    let house = House::open().await;
    let change = json!({ "upload": 1_000_000, "schedule": ["sa-su 00:00-24:00 up=off"] });
    assert_eq!(house.json("PATCH", "/limits", change).await.status, 200);
    let change = json!({ "download": 5_000, "upload": null });
    assert_eq!(house.json("PATCH", "/limits", change).await.status, 200);
    let limits = house.get("/limits").await.value();
    assert_eq!(limits["upload"], Value::Null);
    assert_eq!(limits["download"], 5_000);
    assert_eq!(limits["schedule"].as_array().unwrap().len(), 1);
    let none = house.json("PATCH", "/limits", json!({ "connections": 0 })).await;
    none.is_problem(422, "connections 0");
}

#[tokio::test]
async fn a_torrent_is_treated_as_it_was_asked_and_what_is_not_said_stays() {
    let house = House::open().await;
    let path = format!("/torrents/{}", house.with_torrent().await);
    let change = json!({ "upload": 5_000, "ratio": 2.0, "sequential": true });
    let answer = house.json("PATCH", &path, change).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let change = json!({ "ratio": null, "download": 7_000 });
    let options = house.json("PATCH", &path, change).await.value()["options"].clone();
    assert_eq!(options["upload"], 5_000);
    assert_eq!(options["download"], 7_000);
    assert_eq!(options["ratio"], Value::Null);
    assert_eq!(options["sequential"], true);
    for (change, words) in [
        (json!({ "only": "7" }), "only 7"),
        (json!({ "only": "x" }), "no list of file numbers"),
        (
            json!({ "files": [{ "index": 7, "priority": "low" }] }),
            "no file 7",
        ),
        (
            json!({ "files": [{ "index": 0, "priority": "best" }] }),
            "no priority",
        ),
        (json!({ "upload_slots": 0 }), "upload_slots 0"),
        (json!({ "trackers": [["nonsense"]] }), "nonsense"),
    ] {
        house.json("PATCH", &path, change).await.is_problem(422, words);
    }
}

#[tokio::test]
async fn a_torrent_rests_and_goes() {
    let house = House::open().await;
    let path = format!("/torrents/{}", house.with_torrent().await);
    let resumed = house.json("POST", &format!("{path}/resume"), json!({})).await;
    assert_eq!(resumed.status, 204, "{}", resumed.text());
    let paused = house.json("POST", &format!("{path}/pause"), json!({})).await;
    assert_eq!(paused.status, 204, "{}", paused.text());
    assert_eq!(house.get(&path).await.value()["paused"], true);
    let removed = house.json("DELETE", &path, json!({})).await;
    assert_eq!(removed.status, 204, "{}", removed.text());
    house.get(&path).await.is_problem(404, "there is no torrent");
}

#[tokio::test]
async fn stats_tell_where_the_process_listens() {
    let house = House::open().await;
    let stats = house.get("/stats").await.value();
    assert_eq!(stats["torrents"], 0);
    assert_eq!(stats["pid"], std::process::id());
    assert!(stats["listen"][0].as_str().unwrap().starts_with("127.0.0.1:"));
}
