//! Reads the head of a request far enough to know whether a lane may answer it. Pure: bytes in, verdict out. A lane takes
//! only plain `GET`s of an announce or a scrape; whatever is odd in any way is hyper's, so that there is one place that
//! knows all of HTTP.

use super::desk::Caller;
use super::forwarded::{Sighted, Trust};

/// More header fields than this are not a BitTorrent client; hyper looks at them.
const HEADERS_MAX: usize = 32;

/// The fields by which proxies say for whom they speak.
pub(crate) const FORWARDED: &str = "forwarded";
pub(crate) const FORWARDED_FOR: &str = "x-forwarded-for";

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Announce,
    Scrape,
}

impl Route {
    /// The route behind a path, and the key in front of it: `/announce` or `/{passkey}/announce`. Whether there must be a key, and
    /// what it is worth, is the desk's to say.
    pub(crate) fn of(path: &[u8]) -> Option<(Self, Option<PathKey<'_>>)> {
        let path = path.strip_prefix(b"/")?;
        let (key, name) = match path.iter().position(|&byte| byte == b'/') {
            Some(at) => {
                let (key, name) = path.split_at(at);
                (Some(PathKey(key)), name.get(1..)?)
            }
            None => (None, path),
        };
        let route = match name {
            b"announce" => Self::Announce,
            b"scrape" => Self::Scrape,
            _ => return None,
        };
        // An empty key is a slash too many.
        (key != Some(PathKey(b""))).then_some((route, key))
    }
}

/// What stands where a member's key belongs. Not shown by `{:?}`: it may well be one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PathKey<'a>(pub &'a [u8]);

impl std::fmt::Debug for PathKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PathKey(…)")
    }
}

/// How the answer must be framed, and what happens to the connection behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Framing {
    /// The client speaks HTTP/1.0 and is answered in it.
    pub old: bool,
    pub keep_alive: bool,
}

/// One request that a lane answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask<'a> {
    pub route: Route,
    pub key: Option<PathKey<'a>>,
    /// What stands behind the `?`.
    pub query: &'a [u8],
    /// The tracker's own name, as the client knows it.
    pub host: Option<&'a [u8]>,
    /// There is a field by which a proxy says for whom it speaks; [`caller`] reads it.
    pub forwarded: bool,
    pub framing: Framing,
    /// Length of the whole request; the next one begins behind it.
    pub length: usize,
}

/// What the bytes at hand are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head<'a> {
    /// The beginning of a request.
    Partial,
    Ask(Ask<'a>),
    /// Something that hyper shall look at.
    Foreign,
}

/// Judges the request at the front of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Head<'_> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => judge(&request, length).map_or(Head::Foreign, Head::Ask),
        Ok(httparse::Status::Partial) if request.method.is_none_or(|method| method == "GET") => Head::Partial,
        Ok(httparse::Status::Partial) | Err(_) => Head::Foreign,
    }
}

fn judge<'a>(request: &httparse::Request<'_, 'a>, length: usize) -> Option<Ask<'a>> {
    if request.method != Some("GET") {
        return None;
    }
    let (route, key, query) = split_target(request.path?.as_bytes())?;
    let Fields {
        framing,
        host,
        forwarded,
    } = read_fields(request)?;
    Some(Ask {
        route,
        key,
        query,
        host,
        forwarded,
        framing,
        length,
    })
}

/// Who asks, by the fields of a whole request of which [`read`] said that it has some about that. They are looked for a second
/// time: most requests have none, and shall not pay for those that do.
pub(crate) fn caller(request: &[u8], socket: Caller, trust: &Trust) -> Sighted {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    // It was parsed before, so it cannot fail; if it did, there would be no fields.
    let _ = parsed.parse(request);
    let lines = |name: &'static str| {
        parsed
            .headers
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    };
    trust.caller(socket, lines(FORWARDED_FOR), lines(FORWARDED))
}

/// What the fields say.
struct Fields<'a> {
    framing: Framing,
    host: Option<&'a [u8]>,
    forwarded: bool,
}

/// The fields that change how a request is read or answered; none where hyper must look.
fn read_fields<'a>(request: &httparse::Request<'_, 'a>) -> Option<Fields<'a>> {
    let old = request.version? == 0;
    let (mut close, mut keep, mut forwarded) = (false, false, false);
    let mut host = None;
    for field in request.headers.iter() {
        match Field::of(field.name) {
            Field::Connection => {
                close |= names(field.value, b"close");
                keep |= names(field.value, b"keep-alive");
            }
            Field::Length if field.value.trim_ascii() == b"0" => (),
            Field::Length | Field::Framed => return None,
            Field::Host => host = Some(field.value),
            Field::Forwarded => forwarded = true,
            Field::Other => (),
        }
    }
    let framing = Framing {
        old,
        keep_alive: !close && (keep || !old),
    };
    Some(Fields {
        framing,
        host,
        forwarded,
    })
}

enum Field {
    Connection,
    Length,
    /// A body, a question or another protocol may follow.
    Framed,
    Host,
    /// A proxy speaks for somebody.
    Forwarded,
    Other,
}

impl Field {
    /// Most fields are told apart by their length alone.
    fn of(name: &str) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            10 if is("connection") => Self::Connection,
            14 if is("content-length") => Self::Length,
            17 if is("transfer-encoding") => Self::Framed,
            6 if is("expect") => Self::Framed,
            7 if is("upgrade") => Self::Framed,
            4 if is("host") => Self::Host,
            9 if is(FORWARDED) => Self::Forwarded,
            15 if is(FORWARDED_FOR) => Self::Forwarded,
            _ => Self::Other,
        }
    }
}

/// Does a comma-separated list name this token?
fn names(list: &[u8], token: &[u8]) -> bool {
    list.split(|&byte| byte == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

/// The route, the key and the query of a target in origin form (`/announce?…`) or absolute form (`http://host/announce?…`).
fn split_target(target: &[u8]) -> Option<(Route, Option<PathKey<'_>>, &[u8])> {
    let at = target
        .iter()
        .position(|&byte| byte == b'?')
        .unwrap_or(target.len());
    let (path, query) = target.split_at(at);
    let query = query.get(1..).unwrap_or_default();
    let (route, key) = Route::of(without_authority(path)?)?;
    let plain = is_plain(query) && key.is_none_or(|key| is_plain(key.0));
    plain.then_some((route, key, query))
}

/// Whether hyper's own URI parser takes this query without looking twice. It looks at every byte, bad ones or not, because
/// the compiler then compares sixteen at a time.
fn is_plain(query: &[u8]) -> bool {
    let odd = |byte: u8| {
        let outside = u8::from(!(b'!'..=b'~').contains(&byte));
        let inside = [b'"', b'#', b'<', b'>'].map(|odd| u8::from(byte == odd));
        inside.into_iter().fold(outside, |found, odd| found | odd)
    };
    query.iter().fold(0, |found, &byte| found | odd(byte)) == 0
}

fn without_authority(path: &[u8]) -> Option<&[u8]> {
    if path.starts_with(b"/") {
        return Some(path);
    }
    let rest = strip_scheme(path)?;
    let (authority, path) = rest.split_at(rest.iter().position(|&byte| byte == b'/')?);
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    (!authority.is_empty() && authority.iter().all(plain)).then_some(path)
}

fn strip_scheme(path: &[u8]) -> Option<&[u8]> {
    [&b"http://"[..], b"https://"].into_iter().find_map(|scheme| {
        let (front, rest) = path.split_at_checked(scheme.len())?;
        front.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn ask(request: &str) -> Ask<'_> {
        match read(request.as_bytes()) {
            Head::Ask(ask) => ask,
            other => panic!("{request:?} is {other:?}"),
        }
    }

    #[track_caller]
    fn foreign(request: &str) {
        assert_eq!(read(request.as_bytes()), Head::Foreign, "{request:?}");
    }

    #[test]
    fn an_announce_is_taken_with_its_query_and_its_length() {
        let request = "GET /announce?a=1&b=%20 HTTP/1.1\r\nHost: t\r\n\r\nGET /next";
        let ask = ask(request);
        assert_eq!((ask.route, ask.query), (Route::Announce, &b"a=1&b=%20"[..]));
        assert_eq!(request.get(ask.length..), Some("GET /next"));
    }

    #[test]
    fn every_cut_of_a_head_is_partial() {
        let request = "GET http://t:6969/scrape?info_hash=a HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
        for length in 0..request.len() {
            assert_eq!(
                read(&request.as_bytes()[..length]),
                Head::Partial,
                "{}",
                &request[..length]
            );
        }
        assert_eq!(ask(request).route, Route::Scrape);
    }

    #[test]
    fn the_version_and_the_connection_field_say_whether_the_connection_stays() {
        for (request, old, keep_alive) in [
            ("GET /announce HTTP/1.1\r\n\r\n", false, true),
            (
                "GET /announce HTTP/1.1\r\nConnection: Close\r\n\r\n",
                false,
                false,
            ),
            (
                "GET /announce HTTP/1.1\r\nconnection: TE , close\r\n\r\n",
                false,
                false,
            ),
            (
                "GET /announce HTTP/1.1\r\nConnection: closed\r\n\r\n",
                false,
                true,
            ),
            ("GET /announce HTTP/1.0\r\n\r\n", true, false),
            (
                "GET /announce HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
                true,
                true,
            ),
            (
                "GET /announce HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
                true,
                false,
            ),
        ] {
            assert_eq!(ask(request).framing, Framing { old, keep_alive }, "{request:?}");
        }
    }

    #[test]
    fn targets_in_absolute_form_lose_their_authority() {
        for target in [
            "http://t/announce?x",
            "HTTP://[::1]:6969/announce?x",
            "https://t.example:1/announce?x",
        ] {
            let request = format!("GET {target} HTTP/1.1\r\n\r\n");
            assert_eq!(
                (ask(&request).route, ask(&request).query),
                (Route::Announce, &b"x"[..])
            );
        }
        for target in [
            "http:///announce",
            "http://u@t/announce",
            "ftp://t/announce",
            "http://t?/announce",
            "*",
            "t",
        ] {
            foreign(&format!("GET {target} HTTP/1.1\r\n\r\n"));
        }
    }

    #[test]
    fn whatever_is_not_a_plain_get_of_ours_is_foreign() {
        for request in [
            "POST /announce HTTP/1.1\r\n\r\n",
            "HEAD /announce HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET /announce/ HTTP/1.1\r\n\r\n",
            "GET /announcer HTTP/1.1\r\n\r\n",
            "GET /announce HTTP/2.0\r\n\r\n",
            "GET /announce HTTP/1.1\r\nContent-Length: 1\r\n\r\n",
            "GET /announce HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /announce HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
            "GET /announce HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
            "GET /announce HTTP/1.1\r\nno colon\r\n\r\n",
            "GET /announce#there HTTP/1.1\r\n\r\n",
            "GET /announce?a=\"b\" HTTP/1.1\r\n\r\n",
            "GET /announce?\u{fc} HTTP/1.1\r\n\r\n",
            "\u{16}\u{3}\u{1}\u{2}",
            "\u{13}BitTorrent protocol",
            "POST ",
        ] {
            foreign(request);
        }
        assert_eq!(
            ask("GET /scrape HTTP/1.1\r\nContent-Length: 0\r\n\r\n").query,
            b""
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_get_a_verdict(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            if let Head::Ask(ask) = read(&bytes) {
                assert!(ask.length <= bytes.len());
            }
        }
    }
}
