//! What the API's description promises is what its routes answer: status by status, field by field.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, json};

use super::*;
use crate::api::table::TABLE;

/// What a torrent's files may take to be looked at, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The description, and how well answers keep to it.
struct Document(Value);

impl Document {
    fn of(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap())
    }

    fn operation(&self, method: &str, path: &str) -> &Value {
        let operation = &self.0["paths"][path][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {path} is not described");
        operation
    }

    /// Follows a reference.
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(name) => {
                let found = self.0.pointer(name.strip_prefix('#').unwrap());
                found.unwrap_or_else(|| panic!("{name} is nowhere"))
            }
            None => schema,
        }
    }

    /// What is wrong with a value, if it is not as the schema says.
    fn misfit(&self, schema: &Value, value: &Value, at: &str) -> Option<String> {
        let schema = self.resolve(schema);
        if let Some(parts) = schema["allOf"].as_array() {
            return parts.iter().find_map(|part| self.misfit(part, value, at));
        }
        for several in ["oneOf", "anyOf"] {
            if let Some(parts) = schema[several].as_array() {
                let misfits: Vec<_> = parts.iter().map(|part| self.misfit(part, value, at)).collect();
                let fits = misfits.iter().any(Option::is_none);
                return (!fits).then(|| format!("{at}: {misfits:?}"));
            }
        }
        let kinds: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !kinds.is_empty() && !kinds.iter().any(|kind| is(kind, value)) {
            return Some(format!("{at} is no {kinds:?}: {value}"));
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            return Some(format!("{at} is none of {words:?}: {value}"));
        }
        if let Some(all) = value.as_array() {
            let item = |(number, value)| self.misfit(&schema["items"], value, &format!("{at}[{number}]"));
            return all.iter().enumerate().find_map(item);
        }
        let fields = value.as_object()?;
        let required = schema["required"].as_array().into_iter().flatten();
        let missing = required
            .filter_map(Value::as_str)
            .find(|field| !fields.contains_key(*field));
        if let Some(missing) = missing {
            return Some(format!("{at} lacks {missing}"));
        }
        let described = schema["properties"].as_object()?;
        described.iter().find_map(|(name, schema)| {
            let value = fields.get(name)?;
            self.misfit(schema, value, &format!("{at}.{name}"))
        })
    }

    /// Every field that a schema knows at its top.
    fn known(&self, schema: &Value, into: &mut BTreeSet<String>) {
        let schema = self.resolve(schema);
        let names = schema["properties"].as_object().map(Map::keys);
        into.extend(names.into_iter().flatten().cloned());
        for several in ["allOf", "oneOf", "anyOf"] {
            for part in schema[several].as_array().into_iter().flatten() {
                self.known(part, into);
            }
        }
    }

    /// An answer has a status that is described, and a body as is described for it.
    #[track_caller]
    fn check(&self, method: &str, path: &str, answer: &Answer) {
        let operation = self.operation(method, path);
        let status = answer.status.as_str();
        let described = &operation["responses"][status];
        assert!(
            described.is_object(),
            "{method} {path} answers {status}, which is not described: {}",
            answer.text()
        );
        let schema = &described["content"]["application/json"]["schema"];
        if schema.is_null() {
            return;
        }
        let body = answer.value();
        assert_eq!(self.misfit(schema, &body, "body"), None, "{method} {path}");
        let mut known = BTreeSet::new();
        self.known(schema, &mut known);
        let unknown: Vec<_> = body.as_object().unwrap().keys().collect();
        let unknown: Vec<_> = unknown
            .into_iter()
            .filter(|name| !known.contains(*name))
            .collect();
        assert_eq!(unknown, Vec::<&String>::new(), "{method} {path}");
    }

    /// A refusal is a problem document.
    #[track_caller]
    fn check_problem(&self, method: &str, path: &str, answer: &Answer) {
        let described = &self.operation(method, path)["responses"]["default"];
        let schema = &described["content"]["application/problem+json"]["schema"];
        assert!(!schema.is_null(), "{method} {path} says nothing of errors");
        assert_eq!(self.misfit(schema, &answer.value(), "problem"), None);
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no such type: {other}"),
    }
}

/// Asks until the torrent is at nothing that stands in the way.
async fn answered(house: &House, method: &str, path: &str, body: &Value) -> Answer {
    loop {
        let answer = if body.is_null() {
            house.get(path).await
        } else {
            house.json(method, path, body.clone()).await
        };
        if answer.status != StatusCode::CONFLICT {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn every_route_answers_as_it_is_described() {
    let house = House::open().await;
    let document = Document::of(&house.get("/openapi.json").await.text());
    let hash = house.with_torrent().await;
    let link = json!({
        "magnet": "magnet:?xt=urn:btih:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "root": house.folder.path(),
        "paused": true,
    });
    let told = json!({ "peers": ["127.0.0.1:1"] });
    let elsewhere = house.folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let asked = [
        ("GET", "/openapi.json", Value::Null),
        ("GET", "/stats", Value::Null),
        ("GET", "/limits", Value::Null),
        ("PATCH", "/limits", json!({ "upload": 1_000_000 })),
        ("POST", "/torrents", link),
        ("GET", "/torrents", Value::Null),
        ("GET", "/torrents/{hash}", Value::Null),
        (
            "PATCH",
            "/torrents/{hash}",
            json!({ "ratio": 1.5, "trackers": [["http://127.0.0.1:1/announce"]] }),
        ),
        ("POST", "/torrents/{hash}/peers", told),
        ("POST", "/torrents/{hash}/resume", json!({})),
        ("POST", "/torrents/{hash}/announce", json!({ "force": true })),
        ("POST", "/torrents/{hash}/recheck", json!({ "check": "quick" })),
        ("POST", "/torrents/{hash}/pause", json!({})),
        ("POST", "/torrents/{hash}/move", json!({ "root": elsewhere })),
        ("POST", "/torrents/{hash}/rename", json!({ "file": 0, "to": "b" })),
        ("DELETE", "/torrents/{hash}", json!({})),
    ];
    let mut seen = BTreeSet::from([("GET", "/events")]);
    for (method, path, body) in asked {
        let concrete = path.replace("{hash}", &hash);
        let asked = answered(&house, method, &concrete, &body);
        let answer = tokio::time::timeout(PATIENCE, asked).await.unwrap();
        document.check(method, path, &answer);
        seen.insert((method, path));
    }
    let all: BTreeSet<_> = TABLE.iter().map(|rule| (rule.method, rule.path)).collect();
    assert_eq!(seen, all);
}

#[tokio::test]
async fn every_refusal_is_a_problem_as_it_is_described() {
    let house = House::open().await;
    let document = Document::of(&house.get("/openapi.json").await.text());
    for rule in TABLE.iter().filter(|rule| rule.path.contains("{hash}")) {
        let path = rule.path.replace("{hash}", "00000000");
        let answer = house.json(rule.method, &path, json!([])).await;
        assert!(answer.status.is_client_error(), "{} {path}", rule.method);
        document.check_problem(rule.method, rule.path, &answer);
    }
}

#[tokio::test]
async fn the_way_to_sign_in_is_described() {
    let house = House::open().await;
    let document = Document::of(&house.get("/openapi.json").await.text());
    let scheme = &document.0["components"]["securitySchemes"]["bearer"];
    assert_eq!(
        (&scheme["type"], &scheme["scheme"]),
        (&"http".into(), &"bearer".into())
    );
    let stats = &document.operation("GET", "/stats")["security"];
    assert_eq!(stats, &json!([{ "bearer": [] }]));
}
