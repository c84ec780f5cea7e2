//! HTTP as web seeds are asked: one range of one file at a time, over connections that are kept. Redirects are followed here and
//! not by the library, since where they lead is a stranger's word.

use std::io;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, HeaderMap, HeaderName, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url};

use super::address::{self, Reach};
use super::trouble::Trouble;

/// A server that needs longer to accept a connection, to begin an answer, or to go on with it, is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const STALL_MAX: Duration = Duration::from_secs(30);
/// Connections that nobody uses are closed after so long.
const IDLE_TIME: Duration = Duration::from_secs(30);
const REDIRECTS_MAX: usize = 5;

/// What all web seeds of the process are asked with.
#[derive(Clone, Debug)]
pub(crate) struct WebClient {
    /// Connects to addresses of the world only, whatever a name turns out to mean.
    world: Client,
    home: Client,
    /// Without them no TLS connection can be trusted.
    knows_authorities: bool,
}

/// Somewhere to ask, and where in the world that is.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) url: Url,
    pub(super) reach: Reach,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The file's number, its length, and bytes of it.
    pub(super) file: usize,
    pub(super) length: u64,
    pub(super) bytes: Range<u64>,
}

/// An answer that is being read.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) file: usize,
    /// The place in the file of the next byte, and of the byte behind the last one.
    pub(super) at: u64,
    pub(super) end: u64,
    /// The server gives whole files only.
    pub(super) whole: bool,
    body: Response,
    rest: Bytes,
}

impl WebClient {
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        // A bare system has no certificates of authorities. Servers without TLS need none.
        let (world, home, knows_authorities) = match (world().build(), base().build()) {
            (Ok(world), Ok(home)) => (world, home, true),
            _ => (
                world().tls_certs_only([]).build()?,
                base().tls_certs_only([]).build()?,
                false,
            ),
        };
        Ok(Self {
            world,
            home,
            knows_authorities,
        })
    }

    /// Asks for a range, and follows where it leads. Says where the answer came from.
    pub(super) async fn ask(&self, mut spot: Spot, wanted: &Wanted) -> Result<(Stream, Spot), Trouble> {
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.send(&spot, wanted).await?;
            if !answer.status().is_redirection() {
                return Ok((Stream::open(answer, wanted)?, spot));
            }
            spot = follow(&spot, answer.headers())
                .await
                .map_err(|why| lacks(wanted, why))?;
        }
        Err(lacks(wanted, "it redirects in circles".to_owned()))
    }

    async fn send(&self, spot: &Spot, wanted: &Wanted) -> Result<Response, Trouble> {
        if spot.url.scheme() == "https" && !self.knows_authorities {
            let why = "this system has no certificates to know https servers by; install ca-certificates";
            return Err(Trouble::Useless(why.to_owned()));
        }
        let client = match spot.reach {
            Reach::World => &self.world,
            Reach::Home => &self.home,
        };
        let Range { start, end } = wanted.bytes;
        let range = format!("bytes={start}-{}", end.saturating_sub(1));
        let request = client
            .get(spot.url.clone())
            .header(RANGE, range)
            .header(ACCEPT_ENCODING, "identity");
        match tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Trouble::passing(in_words(error))),
            Err(_) => Err(Trouble::passing("it did not answer in time")),
        }
    }
}

impl Stream {
    /// Judges the head of an answer.
    fn open(answer: Response, wanted: &Wanted) -> Result<Self, Trouble> {
        let (status, fields) = (answer.status(), answer.headers());
        if text(fields, &CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity"))
        {
            return Err(lacks(
                wanted,
                "it answers in an encoding that nobody asked for".to_owned(),
            ));
        }
        let (start, end) = match status {
            StatusCode::PARTIAL_CONTENT => {
                let said = text(fields, &CONTENT_RANGE).and_then(content_range);
                let said =
                    said.ok_or_else(|| lacks(wanted, "it does not say which bytes it sends".to_owned()))?;
                check_range(said, wanted)?
            }
            StatusCode::OK => {
                check_whole(&answer, wanted)?;
                (0, wanted.length)
            }
            _ => return Err(refusal(status, fields, wanted)),
        };
        Ok(Self {
            file: wanted.file,
            at: start,
            end,
            whole: status == StatusCode::OK,
            body: answer,
            rest: Bytes::new(),
        })
    }

    /// Some of the next bytes, at most so many. Nothing is lost if it is dropped while it waits.
    pub(super) async fn next(&mut self, most: u64) -> Result<Bytes, Trouble> {
        while self.rest.is_empty() {
            let chunk = tokio::time::timeout(STALL_MAX, self.body.chunk()).await;
            let chunk = chunk.map_err(|_| Trouble::passing("it stopped in the middle of an answer"))?;
            let chunk = chunk.map_err(|error| Trouble::passing(in_words(error)))?;
            self.rest = chunk.ok_or_else(|| Trouble::passing("its answer is shorter than it said"))?;
        }
        let most = usize::try_from(most.min(self.end - self.at)).unwrap_or(usize::MAX);
        if most == 0 {
            return Err(Trouble::passing("its answer is longer than it said"));
        }
        let bytes = self.rest.split_to(most.min(self.rest.len()));
        self.at += bytes.len() as u64;
        Ok(bytes)
    }
}

/// No proxy: where a web seed leads is judged by its address, which a proxy would hide.
fn base() -> ClientBuilder {
    ClientBuilder::new()
        .user_agent(concat!("kinswarm-seeder/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(2)
        .pool_idle_timeout(IDLE_TIME)
        .referer(false)
        .http1_only()
        .redirect(Policy::none())
}

fn world() -> ClientBuilder {
    base().dns_resolver(WorldOnly)
}

/// Finds addresses of the world and no others, so that a name cannot change its meaning after it was judged.
#[derive(Debug)]
struct WorldOnly;

impl Resolve for WorldOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let world: Vec<_> = found.filter(|found| !address::is_home(found.ip())).collect();
            if world.is_empty() {
                return Err(io::Error::other("its name leads from the world into a local network").into());
            }
            Ok(Box::new(world.into_iter()) as Addrs)
        })
    }
}

/// Where a redirect leads, if it may: not out of TLS, and never from the world to an address at home.
async fn follow(from: &Spot, fields: &HeaderMap) -> Result<Spot, String> {
    let location = text(fields, &LOCATION).ok_or_else(|| "it redirects to nowhere".to_owned())?;
    let url = from.url.join(location);
    let url = url.map_err(|error| format!("it redirects to no URL: {error}"))?;
    address::check_scheme(&url)?;
    if from.url.scheme() == "https" && url.scheme() != "https" {
        return Err("it redirects from https to http".to_owned());
    }
    let leads_home = match (from.reach, url.host()) {
        // The client of the world finds no other addresses by name.
        (Reach::World, Some(url::Host::Domain(_))) => false,
        _ => address::lookup(&url).await?.into_iter().any(address::is_home),
    };
    if leads_home && from.reach == Reach::World {
        return Err("it redirects from the world into a local network".to_owned());
    }
    if leads_home {
        address::check_home(&url)?;
    }
    let reach = if leads_home { Reach::Home } else { Reach::World };
    Ok(Spot { url, reach })
}

fn text<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    fields
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::trim)
}

fn lacks(wanted: &Wanted, why: String) -> Trouble {
    Trouble::Lacks {
        file: wanted.file,
        why,
    }
}

/// `bytes 0-99/1000`: the first and the last byte, and the length of the file unless it is a secret.
fn content_range(said: &str) -> Option<(u64, u64, Option<u64>)> {
    let (bytes, length) = said.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = bytes.trim().split_once('-')?;
    let length = match length.trim() {
        "*" => None,
        length => Some(length.parse().ok()?),
    };
    Some((first.parse().ok()?, last.parse().ok()?, length))
}

/// The bytes that come; they may be fewer than were asked for, but begin where they should.
fn check_range(
    (first, last, length): (u64, u64, Option<u64>),
    wanted: &Wanted,
) -> Result<(u64, u64), Trouble> {
    if let Some(length) = length.filter(|length| *length != wanted.length) {
        return Err(wrong_length(length, wanted));
    }
    if first != wanted.bytes.start || last < first || last >= wanted.bytes.end {
        return Err(lacks(
            wanted,
            format!("asked for {:?}, it sends bytes {first}-{last}", wanted.bytes),
        ));
    }
    Ok((first, last + 1))
}

/// A whole file in the place of a range: is it ours at all?
fn check_whole(answer: &Response, wanted: &Wanted) -> Result<(), Trouble> {
    match answer.content_length() {
        Some(length) if length != wanted.length => Err(wrong_length(length, wanted)),
        Some(_) => Ok(()),
        None => {
            let kind = text(answer.headers(), &reqwest::header::CONTENT_TYPE).unwrap_or_default();
            if kind.starts_with("text/html") {
                return Err(lacks(wanted, "it answers with a page of words".to_owned()));
            }
            Ok(())
        }
    }
}

fn wrong_length(length: u64, wanted: &Wanted) -> Trouble {
    lacks(
        wanted,
        format!(
            "its file is {length} bytes long, and the torrent's {}",
            wanted.length
        ),
    )
}

fn refusal(status: StatusCode, fields: &HeaderMap, wanted: &Wanted) -> Trouble {
    let why = format!("it answers HTTP {status}");
    let passes = status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        );
    if !passes {
        return lacks(wanted, why);
    }
    // A date would need our clocks to agree; who sends one gets our own pause.
    let after = text(fields, &RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
    Trouble::Passing {
        why,
        after: after.map(Duration::from_secs),
    }
}

/// The innermost cause, without the URL, which may hold a password.
fn in_words(error: reqwest::Error) -> String {
    let connecting = error.is_connect();
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if connecting {
        format!("cannot connect: {cause}")
    } else {
        format!("the connection broke off: {cause}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            file: 3,
            length: 1_000,
            bytes: 100..200,
        }
    }

    #[test]
    fn a_range_must_begin_where_it_was_asked_for_in_a_file_as_long_as_ours() {
        for (said, right) in [
            ("bytes 100-199/1000", Some((100, 200))),
            ("bytes 100-199/*", Some((100, 200))),
            ("bytes 100-149/1000", Some((100, 150))),
            ("bytes 100-199/999", None),
            ("bytes 100-200/1000", None),
            ("bytes 99-199/1000", None),
            ("bytes 100-99/1000", None),
        ] {
            let range = check_range(content_range(said).unwrap(), &wanted());
            assert_eq!(range.ok(), right, "{said}");
        }
        for said in [
            "bytes */1000",
            "100-199/1000",
            "bytes 100-199",
            "bytes a-b/c",
            "bytes -1-5/10",
        ] {
            assert_eq!(content_range(said), None, "{said}");
        }
    }

    #[test]
    fn a_busy_server_is_asked_again_and_one_without_the_file_is_not() {
        let verdict = |status: u16| {
            refusal(
                StatusCode::from_u16(status).unwrap(),
                &HeaderMap::new(),
                &wanted(),
            )
        };
        for busy in [429, 500, 503] {
            assert!(matches!(verdict(busy), Trouble::Passing { .. }), "{busy}");
        }
        for without in [400, 401, 403, 404, 410, 416, 204] {
            assert!(
                matches!(verdict(without), Trouble::Lacks { file: 3, .. }),
                "{without}"
            );
        }
        let mut fields = HeaderMap::new();
        fields.insert(RETRY_AFTER, "7".parse().unwrap());
        let busy = refusal(StatusCode::SERVICE_UNAVAILABLE, &fields, &wanted());
        assert!(matches!(busy, Trouble::Passing { after: Some(after), .. } if after.as_secs() == 7));
    }

    #[tokio::test]
    async fn a_redirect_leads_neither_home_nor_out_of_tls() {
        let spot = |url: &str, reach| Spot {
            url: url.parse().unwrap(),
            reach,
        };
        for (from, reach, to, allowed) in [
            ("http://8.8.8.8/a", Reach::World, "http://9.9.9.9/b?x", true),
            ("http://8.8.8.8/a", Reach::World, "/b", true),
            ("http://8.8.8.8/a", Reach::World, "http://127.0.0.1/b", false),
            ("http://8.8.8.8/a", Reach::World, "http://[::1]:8080/b", false),
            ("http://8.8.8.8/a", Reach::World, "https://8.8.8.8/b", true),
            ("https://8.8.8.8/a", Reach::World, "http://8.8.8.8/b", false),
            ("http://8.8.8.8/a", Reach::World, "file:///etc/passwd", false),
            ("http://127.0.0.1/a", Reach::Home, "http://127.0.0.1/b", true),
            ("http://127.0.0.1/a", Reach::Home, "http://127.0.0.1/b?x", false),
            ("http://127.0.0.1/a", Reach::Home, "http://8.8.8.8/b?x", true),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(LOCATION, to.parse().unwrap());
            let followed = follow(&spot(from, reach), &fields).await;
            assert_eq!(followed.is_ok(), allowed, "{from} -> {to}: {followed:?}");
        }
        let at_home = spot("http://127.0.0.1/a", Reach::Home);
        let mut fields = HeaderMap::new();
        fields.insert(LOCATION, "http://8.8.8.8/".parse().unwrap());
        assert_eq!(
            follow(&at_home, &fields).await.unwrap().reach,
            Reach::World,
            "and never back"
        );
    }
}
