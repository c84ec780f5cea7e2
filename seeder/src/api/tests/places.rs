//! Files that are moved and renamed through the API.

use serde_json::json;

use super::*;

#[tokio::test]
async fn files_are_moved_and_renamed_and_what_cannot_be_is_told() {
    let house = House::open().await;
    let root = |name: &str| house.folder.path().join(name);
    std::fs::create_dir_all(root("here")).unwrap();
    std::fs::write(root("here/a"), "x").unwrap();
    let path = format!("/torrents?mode=seed&root={}", root("here").display());
    let added = house
        .send("POST", &path, "application/x-bittorrent", TORRENT.to_vec())
        .await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.text());
    let hash = added.value()["info_hash_v1"].as_str().unwrap().to_owned();
    let at = |what: &str| format!("/torrents/{hash}{what}");
    let seeding = async {
        while house.get(&at("")).await.value()["stage"] != "seeding" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), seeding)
        .await
        .unwrap();

    std::fs::rename(root("here"), root("there")).unwrap();
    let there = json!({ "root": root("there") });
    let moved = house.json("POST", &at("/move"), there).await;
    assert_eq!(moved.status, StatusCode::NO_CONTENT);
    let shown = house.get(&at("")).await.value();
    assert_eq!(shown["root"], root("there").to_str().unwrap());
    house
        .json("POST", &at("/move"), json!({ "root": "below/here" }))
        .await
        .is_problem(422, "root");

    std::fs::create_dir(root("there/x")).unwrap();
    std::fs::rename(root("there/a"), root("there/x/b")).unwrap();
    let to = json!({ "file": 0, "to": "x/b" });
    let renamed = house.json("POST", &at("/rename"), to).await;
    assert_eq!(renamed.status, StatusCode::NO_CONTENT);
    house
        .json("POST", &at("/rename"), json!({ "file": 0, "to": "../b" }))
        .await
        .is_problem(422, "below the root");
    house
        .json("POST", &at("/rename"), json!({ "file": 1, "to": "b" }))
        .await
        .is_problem(422, "no file 1");
    // What is only given is nobody's to delete.
    house
        .json("DELETE", &at("?delete=true"), json!({}))
        .await
        .is_problem(409, "only given");
    assert!(root("there/x/b").exists());
}
