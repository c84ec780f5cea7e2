//! Who may do what: every route, as everyone.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::api::auth::Identity;
use crate::api::table::{TABLE, Verdict, Who};
use crate::members::ids::MemberId;

/// Someone with a key, and what the guard shall take them for; none where the key is no longer good.
struct Guest {
    who: &'static str,
    key: Option<String>,
    local: bool,
    identity: Option<Identity>,
}

async fn guests(house: &House) -> Vec<Guest> {
    let passkey = house.member("Ada").await;
    let disabled = house.member("Bob").await;
    house
        .do_here("POST", "/members/Bob/disable", &json!({ "reason": "moved away" }))
        .await;
    let id = MemberId(house.api.office().member_id("Ada").unwrap().0);
    let holder = |who, key: &str, identity| Guest {
        who,
        key: Some(key.to_owned()),
        local: false,
        identity,
    };
    let token = |name: &str, scopes: &[Scope], member| {
        Some(Identity::Token {
            name: name.to_owned(),
            scopes: scopes.iter().copied().collect(),
            member,
        })
    };
    let mut guests = vec![
        Guest {
            who: "a stranger",
            key: None,
            local: false,
            identity: Some(Identity::Stranger),
        },
        Guest {
            who: "the owner",
            key: None,
            local: true,
            identity: Some(Identity::Owner),
        },
        holder("a member", &passkey, Some(Identity::Member(id))),
        holder("a disabled member", &disabled, None),
        holder("somebody with an unknown key", &"a".repeat(32), None),
    ];
    for scope in scope::ALL {
        let name = scope::name(scope);
        let key = house.token(name, &[scope], json!({})).await;
        guests.push(holder(name, &key, token(name, &[scope], None)));
    }
    let key = house
        .token("Ada's", &[Scope::Read], json!({ "member": "Ada" }))
        .await;
    guests.push(holder(
        "a member's token",
        &key,
        token("Ada's", &[Scope::Read], Some(id)),
    ));
    let key = house.token("gone", &[Scope::Admin], json!({})).await;
    House::good(&house.hear(ask("DELETE", "/tokens/gone").here()).await);
    guests.push(holder("a revoked token", &key, None));
    let soon = json!({ "expires": "2027-01-15T08:00:01Z" });
    let key = house.token("short", &[Scope::Admin], soon).await;
    later(Duration::from_secs(10)).await;
    guests.push(holder("an expired token", &key, None));
    guests
}

/// Every operation of the document, as the table writes it.
async fn document(house: &House) -> BTreeSet<(String, String)> {
    let document = House::good(&house.hear(ask("GET", "/openapi.json")).await);
    let mut found = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["responses"]["default"].is_object(), "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
            found.insert((method.to_uppercase(), path.clone()));
        }
    }
    found
}

#[tokio::test]
async fn the_table_and_the_document_know_the_same_routes() {
    let house = House::open().await;
    let rows: BTreeSet<_> = TABLE
        .iter()
        .map(|rule| (rule.method.to_owned(), rule.path.to_owned()))
        .collect();
    assert_eq!(rows.len(), TABLE.len(), "a row stands twice");
    assert_eq!(document(&house).await, rows);
}

#[tokio::test]
async fn every_route_lets_in_whom_the_table_names_and_nobody_else() {
    let house = House::open().await;
    let guests = guests(&house).await;
    for (number, rule) in TABLE.iter().enumerate() {
        for guest in &guests {
            let expected = match (&guest.identity, rule.who) {
                (Some(identity), who) => who.judge(identity),
                // A key that is no longer good is worse than none.
                (None, _) => Verdict::KeyNeeded,
            };
            // Names and bodies that no route can use: nothing is changed by who is let in.
            let path = rule.path.replace("{name}", "nobody").replace("{id}", "999");
            let path = path.replace("{hash}", &"0".repeat(40));
            let mut ask = ask(rule.method, &path).from(&format!("192.0.2.{number}"));
            ask.local = guest.local;
            if let Some(key) = &guest.key {
                ask = ask.key(key);
            }
            if matches!(rule.method, "POST" | "PUT") {
                ask = ask.text("{");
            }
            let answer = house.hear(ask).await;
            let heard = match answer.status.as_u16() {
                401 => Verdict::KeyNeeded,
                403 => Verdict::NotForThis,
                _ => Verdict::Welcome,
            };
            let scene = format!("{} {} as {}", rule.method, rule.path, guest.who);
            assert_eq!(heard, expected, "{scene}: {} {}", answer.status, answer.words());
            match heard {
                Verdict::KeyNeeded => assert_eq!(answer.field("www-authenticate"), Some("Bearer")),
                Verdict::NotForThis => answer.is_problem(403, &rule.who.wanted()),
                Verdict::Welcome => assert_ne!(answer.status, 500, "{scene}"),
            }
        }
    }
}

#[tokio::test]
async fn a_route_without_a_row_would_be_closed_to_all() {
    let house = House::open().await;
    house
        .hear(ask("GET", "/nowhere").here())
        .await
        .is_problem(404, "openapi.json");
    house
        .hear(ask("GET", "/").here())
        .await
        .is_problem(404, "no such route");
    let answer = house.hear(ask("PATCH", "/members").here()).await;
    answer.is_problem(405, "GET, POST");
    assert_eq!(answer.field("allow"), Some("GET, POST"));
    let answer = house.hear(ask("HEAD", "/policy").here()).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn scopes_have_nothing_of_each_other_but_admin_has_all() {
    for scope in scope::ALL {
        for other in scope::ALL {
            let identity = Identity::Token {
                name: String::new(),
                scopes: [scope].into(),
                member: None,
            };
            let expected = scope == other || scope == Scope::Admin;
            let verdict = Who::Scope(other).judge(&identity);
            assert_eq!(verdict == Verdict::Welcome, expected, "{scope:?} {other:?}");
        }
    }
}

#[tokio::test]
async fn who_may_only_read_sees_no_key_anywhere() {
    let house = House::open().await;
    let passkey = house.member("Ada").await;
    let read = house.token("grafana", &[Scope::Read], json!({})).await;
    let members = house
        .token("desk", &[Scope::Read, Scope::Members], json!({}))
        .await;
    house.do_here("POST", "/invitations", &json!({})).await;
    let hash = house.torrent().await;
    for path in [
        "/members",
        "/members/Ada",
        "/invitations",
        "/torrents",
        "/stats",
        "/policy",
        "/tariff",
    ] {
        let answer = house.hear(ask("GET", path).key(&read)).await;
        House::good(&answer);
        let words = answer.words();
        assert!(
            !words.contains(&passkey) && !words.contains("\"passkey\"") && !words.contains("\"code\""),
            "{words}"
        );
    }
    let answer = house
        .hear(ask("GET", &format!("/torrents/{hash}")).key(&read))
        .await;
    assert!(!answer.words().contains(&passkey));
    let card = House::good(&house.hear(ask("GET", "/members/Ada").key(&members)).await);
    assert_eq!(card["passkey"], passkey);
    assert!(
        card["announce_url"]
            .as_str()
            .unwrap()
            .ends_with(&format!("/{passkey}/announce"))
    );
    let list = House::good(&house.hear(ask("GET", "/members").key(&members)).await);
    assert_eq!(list["members"][0].get("passkey"), None);
}

#[tokio::test]
async fn only_admins_make_owners() {
    let house = House::open().await;
    let members = house.token("desk", &[Scope::Members], json!({})).await;
    let wish = json!({ "name": "Eve", "role": "owner" });
    house
        .hear(ask("POST", "/members").key(&members).json(&wish))
        .await
        .is_problem(403, "admin");
    let card = house.do_here("POST", "/members", &wish).await;
    assert_eq!(card["role"], "owner");
}

#[tokio::test]
async fn only_admins_see_an_owners_key_and_change_an_owner() {
    let house = House::open().await;
    let owner = json!({ "name": "Olga", "role": "owner" });
    let passkey = house.do_here("POST", "/members", &owner).await["passkey"].clone();
    let members = house.token("desk", &[Scope::Members], json!({})).await;
    let admin = house.token("bot", &[Scope::Admin], json!({})).await;
    let hash = house.torrent().await;
    let file = format!("/torrents/{hash}/file?member=olga");
    let reason = json!({ "reason": "coup" });
    for (method, path, body) in [
        ("POST", "/members/olga/rotate", json!({})),
        ("POST", "/members/OLGA/disable", reason),
        ("POST", "/members/Olga/enable", json!({})),
        ("POST", "/members/Olga/expire", json!({ "expires": null })),
        ("DELETE", "/members/Olga", json!({})),
        ("GET", file.as_str(), json!({})),
    ] {
        let answer = house.hear(ask(method, path).key(&members).json(&body)).await;
        answer.is_problem(403, "admin");
    }
    let card = House::good(&house.hear(ask("GET", "/members/Olga").key(&members)).await);
    assert_eq!(card.get("passkey"), None);
    let card = House::good(&house.hear(ask("GET", "/members/Olga").key(&admin)).await);
    assert_eq!(card["passkey"], passkey);
    House::good(&house.hear(ask("POST", "/members/olga/rotate").key(&admin)).await);
}

#[tokio::test]
async fn who_may_change_members_or_torrents_may_look_at_them_and_at_nothing_else() {
    let house = House::open().await;
    house.member("Ada").await;
    let hash = house.torrent().await;
    let members = house.token("desk", &[Scope::Members], json!({})).await;
    let torrents = house.token("bot", &[Scope::Torrents], json!({})).await;
    let torrent = format!("/torrents/{hash}");
    for (path, scope) in [
        ("/members", Scope::Members),
        ("/members/Ada", Scope::Members),
        ("/invitations", Scope::Members),
        ("/torrents", Scope::Torrents),
        (&torrent, Scope::Torrents),
        ("/tariff", Scope::Torrents),
    ] {
        for (key, has) in [(&members, Scope::Members), (&torrents, Scope::Torrents)] {
            let answer = house.hear(ask("GET", path).key(key)).await;
            let expected = if has == scope { 200 } else { 403 };
            assert_eq!(answer.status, expected, "{path}: {}", answer.words());
        }
    }
    for key in [&members, &torrents] {
        assert_eq!(house.hear(ask("GET", "/stats").key(key)).await.status, 403);
    }
}

#[tokio::test]
async fn a_key_of_one_torrent_opens_nothing_here_and_guessing_it_is_guessing() {
    let house = House::open().await;
    house.member("Ada").await;
    let hash = house.torrent().await;
    let path = format!("/torrents/{hash}/file?member=Ada&one_torrent_key=true");
    let file = house.hear(ask("GET", &path).here()).await.words();
    let key = file.split('/').find(|part| part.len() == 32).unwrap();
    for _ in 0..10 {
        let answer = house.hear(ask("POST", "/me/rotate").key(key)).await;
        answer.is_problem(401, "one torrent");
    }
    let answer = house.hear(ask("GET", "/me").key(key)).await;
    answer.is_problem(429, "wait");
}

#[tokio::test]
async fn a_member_sees_and_changes_only_itself() {
    let house = House::open().await;
    let ada = house.member("Ada").await;
    house.member("Bob").await;
    let hash = house.torrent().await;
    let me = House::good(&house.hear(ask("GET", "/me").key(&ada)).await);
    assert_eq!((&me["name"], &me["passkey"]), (&json!("Ada"), &json!(ada)));
    assert_eq!(me["torrents"], json!([]));
    let file = house
        .hear(ask("GET", &format!("/torrents/{hash}/file")).key(&ada))
        .await;
    assert_eq!(file.field("content-type"), Some("application/x-bittorrent"));
    assert!(
        file.words().contains(&format!("/{ada}/announce")),
        "{}",
        file.words()
    );
    house
        .hear(ask("GET", &format!("/torrents/{hash}/file?member=Bob")).key(&ada))
        .await
        .is_problem(403, "members");
    let file = house
        .hear(
            ask(
                "GET",
                &format!("/torrents/{hash}/file?member=ada&one_torrent_key=true"),
            )
            .key(&ada),
        )
        .await;
    assert!(
        file.status.is_success() && !file.words().contains(&ada),
        "{}",
        file.words()
    );
    let fresh = House::good(&house.hear(ask("POST", "/me/rotate").key(&ada)).await);
    assert_ne!(fresh["passkey"], json!(ada));
    let ask_again = ask("GET", "/me").key(fresh["passkey"].as_str().unwrap());
    assert_eq!(House::good(&house.hear(ask_again).await)["name"], "Ada");
}

#[tokio::test]
async fn who_guesses_must_wait_and_others_need_not() {
    let house = House::open().await;
    let good = house.token("good", &[Scope::Read], json!({})).await;
    for _ in 0..10 {
        let answer = house.hear(ask("GET", "/stats").key("kin_wrong")).await;
        answer.is_problem(401, "unknown");
    }
    for key in ["kin_wrong", &good] {
        let answer = house.hear(ask("GET", "/stats").key(key)).await;
        answer.is_problem(429, "wait");
        assert_eq!(answer.field("retry-after"), Some("10"));
    }
    let body = json!({ "code": "0000-0000-0000-0000", "name": "Eve" });
    for path in ["/owner", "/invitations/redeem"] {
        house
            .hear(ask("POST", path).json(&body))
            .await
            .is_problem(429, "wait");
    }
    House::good(
        &house
            .hear(ask("GET", "/stats").key(&good).from("192.0.2.2"))
            .await,
    );
    House::good(&house.hear(ask("GET", "/stats").here()).await);
    later(Duration::from_secs(11)).await;
    House::good(&house.hear(ask("GET", "/stats").key(&good)).await);
}

#[tokio::test]
async fn wrong_codes_are_guesses_too() {
    let house = House::open().await;
    for number in 0..10 {
        let body = json!({ "code": format!("0000-0000-0000-000{number}"), "name": "Eve" });
        let answer = house.hear(ask("POST", "/invitations/redeem").json(&body)).await;
        assert_eq!(answer.status, 404, "{}", answer.words());
    }
    let body = json!({ "code": "0000-0000-0000-0000", "name": "Eve" });
    house
        .hear(ask("POST", "/invitations/redeem").json(&body))
        .await
        .is_problem(429, "wait");
}

#[tokio::test]
async fn a_field_that_holds_no_bearer_key_is_refused() {
    let house = House::open().await;
    for field in [
        "Basic YWRhOnNlY3JldA==",
        "Bearer",
        "Bearer ",
        "kin_aaaa",
        "\u{fc}",
    ] {
        let answer = house
            .hear(ask("GET", "/policy").field("authorization", field))
            .await;
        answer.is_problem(401, "Bearer KEY");
    }
    let long = format!("Bearer {}", "a".repeat(5_000));
    house
        .hear(ask("GET", "/policy").field("authorization", &long))
        .await
        .is_problem(401, "Bearer KEY");
    let twice = ask("GET", "/policy").key("a").key("b");
    house.hear(twice).await.is_problem(401, "must be one");
}

#[tokio::test]
async fn a_request_from_nowhere_gets_nothing() {
    let house = House::open().await;
    let request = Request::builder()
        .uri("/api/v1/policy")
        .body(Body::empty())
        .unwrap();
    let response = house.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 500);
}

#[tokio::test]
async fn answers_are_not_kept_by_caches() {
    let house = House::open().await;
    for path in ["/members", "/members/nobody"] {
        let answer = house.hear(ask("GET", path).here()).await;
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    }
    let _: Value = House::good(&house.hear(ask("GET", "/members").here()).await);
}

/// Every `$ref` below a value.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => (),
    }
}

#[tokio::test]
async fn everything_that_the_document_speaks_of_is_in_it() {
    let house = House::open().await;
    let document = House::good(&house.hear(ask("GET", "/openapi.json")).await);
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.contains("#/components/schemas/Problem"), "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    assert_eq!(document["servers"][0]["url"], "/api/v1");
    let operation = &document["paths"]["/members"]["post"];
    assert_eq!(operation["security"], json!([{ "bearer": ["members"] }]));
    assert_eq!(document["paths"]["/owner"]["post"].get("security"), None);
}
