//! Every route of the API, as its own document lists them, walked by everybody: a stranger, a member, a token of each scope,
//! the owner. Who may do what stands here a second time, so that no slip in the program's own table goes unseen.

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::our_tracker::{OurTracker, Setup, made_torrent};
use tests::rig::{HttpAnswer, HttpRequest};

/// A column each: stranger, member, tokens of the scopes read, torrents, members, admin, and the command line.
const WALKERS: [&str; 7] = [
    "stranger", "member", "read", "torrents", "members", "admin", "owner",
];

/// `+` is let in, `-` is not.
const RIGHTS: [(&str, &str); 35] = [
    ("GET /openapi.json", "+++++++"),
    ("POST /owner", "+++++++"),
    ("POST /invitations/redeem", "+++++++"),
    ("GET /policy", "-++++++"),
    ("GET /me", "-+-----"),
    ("POST /me/rotate", "-+-----"),
    ("GET /stats", "--+--++"),
    ("GET /members", "--+-+++"),
    ("POST /members", "----+++"),
    ("GET /members/{name}", "--+-+++"),
    ("DELETE /members/{name}", "----+++"),
    ("POST /members/{name}/rotate", "----+++"),
    ("POST /members/{name}/disable", "----+++"),
    ("POST /members/{name}/enable", "----+++"),
    ("POST /members/{name}/expire", "----+++"),
    ("GET /members/{name}/trace", "----+++"),
    ("GET /invitations", "--+-+++"),
    ("POST /invitations", "----+++"),
    ("DELETE /invitations/{id}", "----+++"),
    ("GET /tokens", "-----++"),
    ("POST /tokens", "-----++"),
    ("DELETE /tokens/{id}", "-----++"),
    ("GET /torrents", "--++-++"),
    ("POST /torrents", "---+-++"),
    ("GET /torrents/{hash}", "--++-++"),
    ("DELETE /torrents/{hash}", "---+-++"),
    ("GET /torrents/{hash}/file", "-+--+++"),
    ("PUT /torrents/{hash}/tariff", "---+-++"),
    ("DELETE /torrents/{hash}/tariff", "---+-++"),
    ("GET /tariff", "--++-++"),
    ("PUT /tariff", "-----++"),
    ("DELETE /tariff", "-----++"),
    ("GET /audit", "-----++"),
    ("POST /reload", "-----++"),
    ("POST /backup", "------+"),
];

struct House {
    tracker: OurTracker,
    /// What each walker shows: nothing, a passkey, a token.
    keys: Vec<String>,
    _folder: TempDir,
}

impl House {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tracker = Setup::default().start(folder.path());
        let mut keys = vec![String::new(), tracker.add_member("anna")];
        for scope in &WALKERS[2..6] {
            let card = tracker.ask(&["token", "create", scope, "--scope", scope]);
            keys.push(
                card["token"]
                    .as_str()
                    .unwrap_or_else(|| panic!("{card}"))
                    .to_owned(),
            );
        }
        Self {
            tracker,
            keys,
            _folder: folder,
        }
    }

    fn walk(&self, walker: usize, request: HttpRequest) -> HttpAnswer {
        match self.keys.get(walker) {
            None => self.tracker.control(&request),
            Some(key) if key.is_empty() => self.tracker.send(&request),
            Some(key) => self.tracker.send(&request.bearer(key)),
        }
    }

    #[track_caller]
    fn read_token(&self) -> &str {
        &self.keys[2]
    }
}

/// Every `METHOD /path` of the document.
fn documented(document: &Value) -> Vec<String> {
    let mut routes: Vec<String> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, methods)| {
            let path = path.strip_prefix("/api/v1").unwrap_or(path);
            let methods = methods.as_object().unwrap().keys();
            methods
                .filter(|method| {
                    !["parameters", "summary", "description", "servers"].contains(&method.as_str())
                })
                .map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    routes.sort();
    routes
}

/// A request that does no harm where it is let in: whom and what it names, nobody knows.
fn harmless(route: &str) -> HttpRequest {
    let (method, path) = route.split_once(' ').unwrap();
    let path = path
        .replace("{name}", "nobody")
        .replace("{id}", "999999")
        .replace("{hash}", &"0".repeat(40));
    let request = HttpRequest::new(method, format!("/api/v1{path}"));
    if method == "GET" || method == "DELETE" {
        return request;
    }
    match route {
        "POST /reload" => request,
        "POST /me/rotate" => request.json(&json!({ "grace_secs": 86_400 })),
        "POST /torrents" => request
            .header("Content-Type", "application/x-bittorrent")
            .body(b"no torrent".to_vec()),
        _ => request.json(&json!({ "no such field": 1 })),
    }
}

#[track_caller]
fn is_problem(answer: &HttpAnswer) {
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(
        kind.starts_with("application/problem+json"),
        "{kind}: {}",
        answer.text()
    );
    let problem = answer.json();
    assert_eq!(problem["status"], answer.status, "{problem}");
    for key in ["type", "title", "detail"] {
        assert!(problem[key].is_string(), "{problem} lacks {key}");
    }
}

#[test]
fn the_document_lists_the_routes_that_are_walked_here_and_no_others() {
    let house = House::open();
    let document = house
        .tracker
        .send(&HttpRequest::get("/api/v1/openapi.json"))
        .succeeded()
        .json();
    let mut walked: Vec<String> = RIGHTS.iter().map(|(route, _)| (*route).to_owned()).collect();
    walked.sort();
    assert_eq!(documented(&document), walked);
}

#[test]
fn everybody_is_let_in_where_the_table_says_so_and_nowhere_else() {
    let house = House::open();
    let mut wrong = Vec::new();
    for (route, rights) in RIGHTS {
        let open = rights.starts_with('+');
        for (number, right) in rights.bytes().enumerate() {
            // One wrong code is a guess, and guesses are bounded; strangers prove that these two are open.
            if open && number > 0 && route.starts_with("POST") {
                continue;
            }
            let answer = house.walk(number, harmless(route));
            let shut = matches!(answer.status, 401 | 403);
            if (right == b'-') != shut && !(open && route.starts_with("POST")) || answer.status >= 500 {
                wrong.push(format!(
                    "{route}: {} gets {} ({})",
                    WALKERS[number],
                    answer.status,
                    answer.text()
                ));
            }
            if shut {
                is_problem(&answer);
                assert_eq!(
                    answer.status == 401,
                    number == 0,
                    "{route} for {}",
                    WALKERS[number]
                );
                assert!(
                    answer.status != 401 || answer.header("www-authenticate").is_some(),
                    "{route}"
                );
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn a_token_that_only_reads_never_sees_a_key() {
    let house = House::open();
    let anna = &house.keys[1];
    let file = house.tracker.place("made.torrent");
    std::fs::write(&file, made_torrent("holiday", None)).unwrap();
    let card = house.tracker.ask(&["torrent", "add", &file.to_string_lossy()]);
    let hash = card["info_hash_v1"].as_str().unwrap().to_owned();
    for path in [
        "/members",
        "/members/anna",
        "/torrents",
        "/invitations",
        "/stats",
        "/policy",
        "/tariff",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([format!("/torrents/{hash}")])
    {
        let request = HttpRequest::get(format!("/api/v1{path}")).bearer(house.read_token());
        let text = house.tracker.send(&request).succeeded().text();
        for key in &house.keys[1..] {
            assert!(!text.contains(key.as_str()), "{path} shows a key: {text}");
        }
    }
    let own = house
        .tracker
        .send(&HttpRequest::get("/api/v1/me").bearer(anna))
        .succeeded()
        .json();
    assert_eq!(own["name"], "anna");
}

#[test]
fn guesses_are_bounded_and_the_wait_is_told() {
    let house = House::open();
    let guess = |number: u32| {
        let request = HttpRequest::get("/api/v1/members").bearer(&format!("guess{number}"));
        house.tracker.send(&request)
    };
    let refused = (0..200)
        .map(guess)
        .find(|answer| answer.status != 401)
        .expect("guessing ends");
    assert_eq!(refused.status, 429, "{}", refused.text());
    is_problem(&refused);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3_600).contains(&wait), "{wait}");
    // Codes are guessed at no better.
    let request =
        HttpRequest::post("/api/v1/invitations/redeem").json(&json!({ "code": "guess", "name": "x" }));
    assert_eq!(house.tracker.send(&request).status, 429);
    // Whoever is already known is not kept out by a guesser at another address, nor are announces.
    let other = HttpRequest::get("/api/v1/stats")
        .bearer(house.read_token())
        .from("127.0.0.2".parse().unwrap());
    house.tracker.send(&other).succeeded();
}

#[test]
fn bodies_are_bounded_and_scanned() {
    let house = House::open();
    let torrents = HttpRequest::post("/api/v1/torrents")
        .header("Content-Type", "application/x-bittorrent")
        .bearer(&house.keys[3]);
    let members = HttpRequest::post("/api/v1/members").bearer(&house.keys[4]);
    let long = json!({ "name": "x".repeat(100_000) });
    let cases = [
        (members.clone().json(&long), 413),
        (
            members
                .clone()
                .body(b"{".to_vec())
                .header("Content-Type", "application/json"),
            400,
        ),
        (torrents.clone().body(vec![b'l'; 100_000]), 422),
        (torrents.clone().body(b"d4:infod4:name".to_vec()), 422),
        (torrents.clone().body(vec![0; (32 << 20) + 1]), 413),
        (HttpRequest::get("/api/v1/nothing"), 404),
        (
            HttpRequest::new("PATCH", "/api/v1/members").bearer(&house.keys[4]),
            405,
        ),
    ];
    for (number, (request, status)) in cases.into_iter().enumerate() {
        // A body that is too long may be refused before all of it was sent.
        let Ok(answer) = request.try_send(house.tracker.address()) else {
            assert_eq!(status, 413, "case {number} got no answer");
            continue;
        };
        assert_eq!(answer.status, status, "case {number}: {}", answer.text());
        is_problem(&answer);
    }
    let typo = members.json(&json!({ "name": "bert", "expire": "2030-01-01T00:00:00Z" }));
    let answer = house.tracker.send(&typo);
    assert!(matches!(answer.status, 400 | 422), "{}", answer.text());
    assert!(answer.text().contains("expire"), "{}", answer.text());
}

#[test]
fn an_invitation_is_good_for_as_many_as_it_says_and_shows_who_invited_whom() {
    let house = House::open();
    let invitation = house
        .tracker
        .ask(&["invite", "create", "--by", "anna", "--uses", "2"]);
    let code = invitation["code"].as_str().unwrap();
    let redeem = |name: &str| {
        let request =
            HttpRequest::post("/api/v1/invitations/redeem").json(&json!({ "code": code, "name": name }));
        house.tracker.send(&request)
    };
    assert_eq!(redeem("bert").succeeded().json()["name"], "bert");
    assert!(redeem("bert").status >= 400, "the name is taken");
    redeem("clara").succeeded();
    let third = redeem("dora");
    assert!((400..500).contains(&third.status), "{}", third.text());
    is_problem(&third);
    assert_eq!(
        house.tracker.ask(&["member", "show", "bert"])["invited_by"],
        "anna"
    );
}

#[test]
fn the_trace_of_a_member_shows_what_its_client_was_told_and_why() {
    use shared::announce::Event;
    use std::time::Duration;

    let house = House::open();
    let torrent = house.tracker.register("holiday");
    let client = house.tracker.client(&house.keys[1], torrent, "client", 7_000);
    let trace = house.tracker.command(&["trace", "anna"]).start();
    // It is listening when the first line comes; until then its member says more.
    let mut unknown = client.clone();
    unknown.says.info_hash = shared::id::InfoHash([7; 20]);
    let line = tests::rig::ask_until("a line of the trace", Duration::from_secs(30), || {
        unknown.refused(house.tracker.address(), Event::Started);
        trace.lines(tests::rig::Stream::Out).first().cloned()
    });
    assert!(line.contains("unregistered"), "{line}");
    client.announce(house.tracker.address(), Event::Started);
    let line = trace.wait_for_line("started\"", Duration::from_secs(30));
    let told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(told["member"], "anna", "{told}");
    assert!(
        !line.contains("127.0.0.1") && !line.contains(&house.keys[1]),
        "{line}"
    );
    trace.wait_for_line(&torrent.to_string(), Duration::from_secs(30));
}
