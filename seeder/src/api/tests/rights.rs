//! Who is let in, and that every route asks.

use edge::openapi::operations;
use utoipa::openapi::OpenApi;

use super::*;
use crate::api::table::{TABLE, Work};

fn concrete(path: &str) -> String {
    format!("/api/v1{}", path.replace("{hash}", "00000000"))
}

#[tokio::test]
async fn no_route_but_the_description_answers_without_the_token() {
    let house = House::open().await;
    for rule in TABLE {
        let path = concrete(rule.path);
        let stranger = house.ask(rule.method, &path, None).await;
        if rule.work == Work::Open {
            assert_eq!(stranger.status, 200, "{path}");
        } else {
            stranger.is_problem(401, "api-token");
            assert_eq!(stranger.fields[header::WWW_AUTHENTICATE], "Bearer");
        }
    }
}

#[tokio::test]
async fn the_right_token_opens_every_route() {
    let house = House::open().await;
    for rule in TABLE.iter().filter(|rule| rule.path != "/events") {
        let answer = house
            .ask(rule.method, &concrete(rule.path), Some(&house.token))
            .await;
        assert!(
            !matches!(answer.status.as_u16(), 401 | 403 | 405 | 500),
            "{} {}: {}",
            rule.method,
            rule.path,
            answer.text()
        );
    }
}

#[tokio::test]
async fn wrong_tokens_are_few_from_one_network_and_then_a_good_one_waits_too() {
    let house = House::open().await;
    for _ in 0..10 {
        let answer = house.ask("GET", "/api/v1/stats", Some("wrong")).await;
        answer.is_problem(401, "wrong");
    }
    let held = house.ask("GET", "/api/v1/stats", Some(&house.token)).await;
    held.is_problem(429, "wait");
    assert!(held.fields.contains_key(header::RETRY_AFTER));
    assert_eq!(house.get("/stats").await.status, 200);
}

#[tokio::test]
async fn what_is_watched_needs_no_token() {
    let house = House::open().await;
    assert_eq!(house.ask("GET", "/health", None).await.text(), "ok\n");
    let metrics = house.ask("GET", "/metrics", None).await;
    assert!(metrics.text().contains("seeder_torrents{state=\"seeding\"} 0"));
    assert_eq!(
        metrics.fields[header::CONTENT_TYPE],
        "text/plain; version=0.0.4; charset=utf-8"
    );
}

#[tokio::test]
async fn a_web_site_that_points_its_name_at_us_learns_nothing() {
    let house = House::open().await;
    for path in ["/metrics", "/health", "/api/v1/openapi.json"] {
        let request = Request::builder()
            .uri(path)
            .header(header::HOST, "evil.example:6980");
        let answer = house.answer(request.body(Body::empty()).unwrap(), false).await;
        answer.is_problem(421, "admin.hosts");
    }
    let nameless = Request::builder().uri("/metrics").body(Body::empty()).unwrap();
    house.answer(nameless, false).await.is_problem(421, "Host");
}

#[tokio::test]
async fn the_description_names_every_route_and_no_other() {
    let house = House::open().await;
    let text = house.ask("GET", "/api/v1/openapi.json", None).await.text();
    let mut document: OpenApi = serde_json::from_str(&text).unwrap();
    let mut described: Vec<(String, String)> = Vec::new();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let open = path == "/openapi.json";
            assert_eq!(operation.security.is_none(), open, "{method} {path}");
            assert!(operation.responses.responses.contains_key("default"));
            described.push((method.to_owned(), path.clone()));
        }
    }
    let mut table: Vec<(String, String)> = TABLE
        .iter()
        .map(|rule| (rule.method.to_owned(), rule.path.to_owned()))
        .collect();
    described.sort();
    table.sort();
    assert_eq!(described, table);
}

#[tokio::test]
async fn a_wrong_method_and_a_wrong_path_are_told_what_there_is() {
    let house = House::open().await;
    let answer = house.json("PUT", "/limits", Value::Null).await;
    answer.is_problem(405, "GET, PATCH");
    assert_eq!(answer.fields[header::ALLOW], "GET, PATCH");
    house.get("/nothing").await.is_problem(404, "openapi.json");
    house
        .ask("GET", "/nothing", None)
        .await
        .is_problem(404, "/api/v1");
}
