//! What people do with it, from the first code to the backup.

use super::*;

#[tokio::test]
async fn the_first_owner_comes_by_a_code_that_works_once() {
    let house = House::open().await;
    let code = house.api.office().offer_ownership().unwrap();
    let wish = |name: &str| json!({ "code": code.to_lowercase(), "name": name });
    let card = House::good(&house.hear(ask("POST", "/owner").json(&wish("Olga"))).await);
    assert_eq!((&card["name"], &card["role"]), (&json!("Olga"), &json!("owner")));
    let token = card["token"].as_str().unwrap();
    let tokens = House::good(&house.hear(ask("GET", "/tokens").key(token)).await);
    assert_eq!(tokens["total"], 1);
    assert_eq!(tokens["tokens"][0]["member"], "Olga");
    let again = house.hear(ask("POST", "/owner").json(&wish("Eve"))).await;
    assert!(again.status.is_client_error(), "{}", again.words());
    assert_eq!(house.api.office().offer_ownership(), None);
}

#[tokio::test]
async fn an_invitation_makes_as_many_members_as_it_says() {
    let house = House::open().await;
    house.member("Ada").await;
    let token = house
        .token("Ada's", &[Scope::Members], json!({ "member": "Ada" }))
        .await;
    let wish = json!({ "uses": 2, "note": "cousins", "expires": "2027-02-01T00:00:00Z" });
    let made = house
        .hear(ask("POST", "/invitations").key(&token).json(&wish))
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.words());
    let card = House::good(&made);
    let redeem = async |name: &str| {
        let wish = json!({ "code": card["code"], "name": name });
        house.hear(ask("POST", "/invitations/redeem").json(&wish)).await
    };
    let bob = House::good(&redeem("Bob").await);
    assert!(bob["passkey"].as_str().unwrap().len() == 32 && bob["announce_url"].is_string());
    redeem("Bob").await.is_problem(409, "Bob");
    House::good(&redeem("Cleo").await);
    redeem("Dora").await.is_problem(410, "used up");
    let list = house.do_here("GET", "/invitations", &json!({})).await;
    assert_eq!(list["invitations"][0]["used"], 2);
    assert_eq!(list["invitations"][0]["by"], "Ada");
    assert_eq!(
        house.do_here("GET", "/members/Bob", &json!({})).await["invited_by"],
        "Ada"
    );
    let other = house.do_here("POST", "/invitations", &json!({})).await;
    let path = format!("/invitations/{}", other["id"]);
    assert_eq!(
        house.hear(ask("DELETE", &path).here()).await.status,
        StatusCode::NO_CONTENT
    );
    let wish = json!({ "code": other["code"], "name": "Eve" });
    house
        .hear(ask("POST", "/invitations/redeem").json(&wish))
        .await
        .is_problem(410, "taken back");
}

#[tokio::test]
async fn a_member_is_added_shown_disabled_enabled_and_forgotten() {
    let house = House::open().await;
    let made = house
        .hear(ask("POST", "/members").here().json(&json!({ "name": "Ada" })))
        .await;
    assert_eq!(made.status, StatusCode::CREATED);
    house
        .hear(ask("POST", "/members").here().json(&json!({ "name": "ada" })))
        .await
        .is_problem(409, "Ada");
    let card = house.do_here("GET", "/members/Ada", &json!({})).await;
    for (field, value) in [
        ("uploaded", json!(0)),
        ("downloaded", json!(0)),
        ("torrents", json!([])),
        ("last_seen", Value::Null),
    ] {
        assert_eq!(card[field], value, "{field}");
    }
    let card = house
        .do_here("POST", "/members/Ada/disable", &json!({ "reason": "on holiday" }))
        .await;
    assert_eq!(
        (&card["state"], &card["disabled_reason"]),
        (&json!("disabled"), &json!("on holiday"))
    );
    let card = house.do_here("POST", "/members/Ada/enable", &json!({})).await;
    assert_eq!(card["state"], "active");
    let card = house
        .do_here(
            "POST",
            "/members/Ada/expire",
            &json!({ "expires": "2030-01-01T00:00:00+01:00" }),
        )
        .await;
    assert_eq!(card["expires"], "2029-12-31T23:00:00Z");
    let card = house
        .do_here("POST", "/members/Ada/expire", &json!({ "expires": null }))
        .await;
    assert_eq!(card["expires"], Value::Null);
    let old = house.do_here("GET", "/members/Ada", &json!({})).await["passkey"].clone();
    let card = house
        .do_here("POST", "/members/Ada/rotate", &json!({ "grace_secs": 0 }))
        .await;
    assert_ne!(card["passkey"], old);
    let dead = house.hear(ask("GET", "/me").key(old.as_str().unwrap())).await;
    assert_eq!(dead.status, 401, "{}", dead.words());
    let audit = house.do_here("GET", "/audit", &json!({})).await;
    assert!(audit["changes"].as_array().unwrap().len() >= 6, "{audit}");
    assert_eq!(
        house.hear(ask("DELETE", "/members/Ada").here()).await.status,
        StatusCode::NO_CONTENT
    );
    house
        .hear(ask("GET", "/members/Ada").here())
        .await
        .is_problem(404, "Ada");
}

#[tokio::test]
async fn lists_come_in_parts() {
    let house = House::open().await;
    for number in 0..5 {
        house.member(&format!("member-{number}")).await;
    }
    let page = house
        .do_here("GET", "/members?offset=3&limit=3", &json!({}))
        .await;
    let names: Vec<_> = page["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|card| card["name"].as_str().unwrap())
        .collect();
    assert_eq!((names, &page["total"]), (vec!["member-3", "member-4"], &json!(5)));
    let page = house.do_here("GET", "/members?search=BER-2", &json!({})).await;
    assert_eq!(
        (&page["total"], &page["members"][0]["name"]),
        (&json!(1), &json!("member-2"))
    );
    let page = house
        .do_here("GET", "/members?limit=4000000000&offset=4000000000", &json!({}))
        .await;
    assert_eq!((&page["total"], &page["members"]), (&json!(5), &json!([])));
}

#[tokio::test]
async fn a_torrent_is_registered_found_and_removed_with_a_reason() {
    let house = House::open().await;
    let answer = house
        .hear(
            ask("POST", "/torrents?private=true&source=home")
                .here()
                .torrent(TORRENT),
        )
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.words());
    let card = House::good(&answer);
    assert_eq!(
        (&card["private"], &card["source"]),
        (&json!(true), &json!("home"))
    );
    assert_ne!(card["former"]["info_hash_v1"], card["info_hash_v1"]);
    let hash = card["info_hash_v1"].as_str().unwrap().to_owned();
    let list = house.do_here("GET", "/torrents", &json!({})).await;
    assert_eq!(
        (&list["total"], &list["torrents"][0]["info_hash_v1"]),
        (&json!(1), &json!(hash))
    );
    let report = house
        .do_here("GET", &format!("/torrents/{}", &hash[..12]), &json!({}))
        .await;
    assert_eq!(report["accounts"], json!([]));
    house
        .hear(ask("GET", &format!("/torrents/{hash}/file")).here())
        .await
        .is_problem(422, "member");
    let path = format!("/torrents/{hash}?reason=wrong%20scan");
    let card = house.do_here("DELETE", &path, &json!({})).await;
    assert_eq!(card["removed_reason"], "wrong scan");
}

#[tokio::test]
async fn tariffs_are_set_and_taken_back() {
    let house = House::open().await;
    let hash = house.torrent().await;
    let path = format!("/torrents/{hash}/tariff");
    let free = json!({ "upload_percent": 100, "download_percent": 0, "until": "2027-06-01T00:00:00Z" });
    for (path, shown) in [
        ("/tariff", "/tariff"),
        (path.as_str(), &*format!("/torrents/{hash}")),
    ] {
        let field = if shown == "/tariff" { "set" } else { "tariff" };
        house.do_here("PUT", path, &free).await;
        assert_eq!(house.do_here("GET", shown, &json!({})).await[field], free);
        assert_eq!(
            house.hear(ask("DELETE", path).here()).await.status,
            StatusCode::NO_CONTENT
        );
        assert_eq!(house.do_here("GET", shown, &json!({})).await[field], Value::Null);
    }
}

#[tokio::test]
async fn a_program_learns_what_the_tracker_wants_of_torrents() {
    let house = House::open().await;
    house.api.office().set_settings(OfficeSettings {
        require_private: true,
        source: "home".to_owned(),
        announce_base: "https://tracker.example".to_owned(),
        announce_guessed: false,
        ..OfficeSettings::default()
    });
    let passkey = house.member("Ada").await;
    let policy = House::good(&house.hear(ask("GET", "/policy").key(&passkey)).await);
    let wanted = json!({
        "private": true,
        "source": "home",
        "open": false,
        "announce_url": "https://tracker.example/{passkey}/announce",
            "announce_url_guessed": false,
    });
    assert_eq!(policy, wanted);
}

#[tokio::test]
async fn numbers_of_the_whole_tracker_are_told() {
    let house = House::open().await;
    house.member("Ada").await;
    house.torrent().await;
    let stats = house.do_here("GET", "/stats", &json!({})).await;
    assert_eq!(
        stats["members"],
        json!({ "active": 1, "disabled": 0, "expired": 0 })
    );
    assert_eq!((&stats["torrents"], &stats["swarms"]), (&json!(1), &Value::Null));
}

#[tokio::test]
async fn what_needs_a_running_tracker_says_so() {
    let house = House::open().await;
    house.member("Ada").await;
    house
        .hear(ask("GET", "/members/Ada/trace").here())
        .await
        .is_problem(409, "no tracker runs");
    house
        .hear(ask("POST", "/reload").here())
        .await
        .is_problem(409, "no tracker runs");
}

#[tokio::test]
async fn a_backup_is_written_once_and_only_from_here() {
    let house = House::open().await;
    house.member("Ada").await;
    let file = house.folder.path().join("backup.sqlite");
    let wish = json!({ "path": file });
    let card = house.do_here("POST", "/backup", &wish).await;
    assert_eq!(card["bytes"], std::fs::metadata(&file).unwrap().len());
    assert!(card["warning"].as_str().unwrap().contains("secret"));
    house
        .hear(ask("POST", "/backup").here().json(&wish))
        .await
        .is_problem(409, "exists");
    house
        .hear(ask("POST", "/backup").here().json(&json!({ "path": "backup" })))
        .await
        .is_problem(422, "slash");
    let admin = house.token("admin", &[Scope::Admin], json!({})).await;
    house
        .hear(ask("POST", "/backup").key(&admin).json(&wish))
        .await
        .is_problem(403, "command line");
}

#[tokio::test]
async fn only_admins_invite_in_the_name_of_another() {
    let house = House::open().await;
    house.member("Ada").await;
    house.member("Bob").await;
    let wish = json!({ "by": "Ada" });
    assert_eq!(house.do_here("POST", "/invitations", &wish).await["by"], "Ada");
    let bob = house
        .token("Bob's", &[Scope::Members], json!({ "member": "Bob" }))
        .await;
    house
        .hear(ask("POST", "/invitations").key(&bob).json(&wish))
        .await
        .is_problem(403, "admin");
    let own = house
        .hear(
            ask("POST", "/invitations")
                .key(&bob)
                .json(&json!({ "by": "bob" })),
        )
        .await;
    assert_eq!(House::good(&own)["by"], "Bob");
}

#[tokio::test]
async fn a_change_that_has_begun_is_finished_even_if_its_sender_hangs_up() {
    let house = House::open().await;
    let request = ask("POST", "/members").here().json(&json!({ "name": "Ada" }));
    let asking = house.raw(request);
    assert!(tokio::time::timeout(Duration::ZERO, asking).await.is_err());
    while house.api.office().member_id("Ada").is_err() {
        tokio::task::yield_now().await;
    }
}
