//! Where a web seed has a file (BEP 19), and which addresses a stranger's URL may lead to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Component, Path};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use shared::metainfo::{File, Info};
use url::{Host, Url};

/// What stands for itself in a part of a path (RFC 3986, 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Looking up a name must not take longer than connecting to it.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Which part of the world an address is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    World,
    /// This machine, its networks, and addresses that nobody has in the world.
    Home,
}

/// A web seed's URL that may be asked, with the address it had a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) url: Url,
    pub(crate) reach: Reach,
    pub(crate) address: IpAddr,
}

/// Why a web seed cannot be asked, in words.
#[derive(Debug)]
pub(crate) enum SeekError {
    Never(String),
    Later(String),
}

/// Looks a web seed up. A torrent is a stranger's word: where its URL leads home, it may only fetch, and never carry words to
/// what listens there. What the owner added by hand may.
pub(crate) async fn find(url: &str, from_owner: bool) -> Result<Found, SeekError> {
    let url = Url::parse(url).map_err(|error| SeekError::Never(format!("not a URL: {error}")))?;
    check_scheme(&url).map_err(SeekError::Never)?;
    let addresses = lookup(&url).await.map_err(SeekError::Later)?;
    let reach = if addresses.iter().any(|address| is_home(*address)) {
        Reach::Home
    } else {
        Reach::World
    };
    if reach == Reach::Home && !from_owner {
        check_home(&url).map_err(SeekError::Never)?;
    }
    let first = addresses.first().copied();
    let address = first.ok_or_else(|| SeekError::Later("its name has no address".to_owned()))?;
    Ok(Found { url, reach, address })
}

/// Web seeds of other kinds are for other programs.
pub(super) fn check_scheme(url: &Url) -> Result<(), String> {
    match url.scheme() {
        "http" | "https" => Ok(()),
        other => Err(format!("{other}:// is not spoken here; http:// and https:// are")),
    }
}

/// What a stranger's URL may not hold if it leads home.
pub(super) fn check_home(url: &Url) -> Result<(), String> {
    if url.query().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err("it leads into the local network and carries a query or a password".to_owned());
    }
    Ok(())
}

/// The addresses of a URL's host.
pub(super) async fn lookup(url: &Url) -> Result<Vec<IpAddr>, String> {
    let name = match url.host() {
        None => return Err("the URL names no host".to_owned()),
        Some(Host::Ipv4(address)) => return Ok(vec![address.into()]),
        Some(Host::Ipv6(address)) => return Ok(vec![address.into()]),
        Some(Host::Domain(name)) => name,
    };
    let found = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name, 0))).await;
    let found = found.map_err(|_| format!("looking up {name} took too long"))?;
    let found = found.map_err(|error| format!("cannot look up {name}: {error}"))?;
    Ok(found.map(|address| address.ip()).collect())
}

/// Not an address of the world: what answers there may trust whoever is near.
pub(crate) fn is_home(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_home_v4(v4),
        IpAddr::V6(v6) => is_home_v6(v6),
    }
}

fn is_home_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || matches!(
            (first, second, third),
            (0 | 240..=255, _, _) | (100, 64..=127, _) | (198, 18 | 19, _) | (192, 0, 0)
        )
}

fn is_home_v6(address: Ipv6Addr) -> bool {
    // Ways of writing an IPv4 address: translated (RFC 6052) and tunnelled (RFC 3056).
    let within = match address.segments() {
        [0x64, 0xff9b, .., high, low] | [0x2002, high, low, ..] => Some((high, low)),
        _ => None,
    };
    if let Some((high, low)) = within {
        return is_home_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    }
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        // What is left of the space below 2000::/3 was never given to anybody.
        || address.octets()[0] >> 5 != 1
}

/// The URL of one file. Its parts are named as the torrent's maker named them, since the server has the maker's files.
pub(super) fn url_of(base: &Url, info: &Info, file: &File) -> Option<Url> {
    let (mut text, is_folder) = (base.as_str().to_owned(), base.path().ends_with('/'));
    let path = info.original_path(file).unwrap_or_else(|| info.disk_path(file));
    if info.is_single_file() && (!is_folder || base.query().is_some()) {
        return Some(base.clone());
    }
    if base.query().is_some() {
        // There is no place to put a path.
        return None;
    }
    if let Some((before, _)) = text.split_once('#') {
        text.truncate(before.len());
    }
    if !is_folder {
        text.push('/');
    }
    text.push_str(&escaped(&path));
    Url::parse(&text).ok()
}

/// A path of a torrent as a part of a URL.
pub(crate) fn escaped(path: &Path) -> String {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy()),
        _ => None,
    });
    let parts: Vec<String> = parts
        .map(|part| utf8_percent_encode(&part, ESCAPED).to_string())
        .collect();
    parts.join("/")
}

/// A URL for logs and screens: no password, no query.
pub(crate) fn for_logs(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return "what is no URL".to_owned();
    };
    // Either fails only where there is no host, and then there is nothing to hide.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use shared::metainfo::Metainfo;

    use super::*;

    fn info(files: &str) -> Info {
        let torrent = format!("d4:infod{files}12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee");
        Metainfo::read(torrent.as_bytes()).unwrap().info
    }

    #[track_caller]
    fn check(info: &Info, base: &str, expected: &str) {
        let url = url_of(&Url::parse(base).unwrap(), info, info.files().first().unwrap());
        assert_eq!(url.unwrap().as_str(), expected, "{base}");
    }

    #[test]
    fn a_single_file_is_the_url_itself_or_its_name_in_a_folder() {
        let info = info("6:lengthi5e4:name9:a b#?.iso");
        check(&info, "http://h/x", "http://h/x");
        check(&info, "http://h/x?id=1", "http://h/x?id=1");
        check(&info, "http://h/pub/", "http://h/pub/a%20b%23%3F.iso");
        check(&info, "http://h", "http://h/a%20b%23%3F.iso");
    }

    #[test]
    fn files_of_a_folder_lie_below_its_name_whether_the_url_ends_in_a_slash_or_not() {
        let info = info("5:filesld6:lengthi5e4:pathl4:Gr\u{f6}5:a+%&beee4:name5:trip!");
        check(&info, "http://h/pub", "http://h/pub/trip%21/Gr%C3%B6/a%2B%25%26b");
        check(
            &info,
            "http://h/pub/",
            "http://h/pub/trip%21/Gr%C3%B6/a%2B%25%26b",
        );
        let asks = Url::parse("http://h/pub?x").unwrap();
        assert_eq!(url_of(&asks, &info, info.files().first().unwrap()), None);
    }

    #[test]
    fn names_that_we_would_not_write_are_asked_for_as_the_maker_wrote_them() {
        let info = info("5:filesld6:lengthi5e4:pathl5:aux.ceee4:name1:n");
        check(&info, "http://h/", "http://h/n/aux.c");
    }

    #[test]
    fn home_is_whatever_is_not_of_the_world() {
        for home in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "::7f00:1",
            "4000::1",
        ] {
            assert!(is_home(home.parse().unwrap()), "{home}");
        }
        for world in [
            "5.77.0.1",
            "8.8.8.8",
            "100.128.0.1",
            "2a77::1",
            "2001:4860::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(!is_home(world.parse().unwrap()), "{world}");
        }
    }

    #[tokio::test]
    async fn a_strangers_url_carries_no_words_home_and_the_owners_may() {
        for (url, stranger, owner) in [
            ("http://127.0.0.1:80/a/", true, true),
            ("http://127.0.0.1/a?do=it", false, true),
            ("http://u:p@192.168.1.1/a", false, true),
            ("http://8.8.8.8/a?do=it", true, true),
            ("ftp://8.8.8.8/a", false, false),
            ("file:///etc/passwd", false, false),
        ] {
            assert_eq!(find(url, false).await.is_ok(), stranger, "{url}");
            assert_eq!(find(url, true).await.is_ok(), owner, "{url}");
        }
    }

    #[test]
    fn what_logs_show_of_a_url_holds_no_secret() {
        assert_eq!(for_logs("http://me:pw@h:8/a/b?key=1#x"), "http://h:8/a/b");
    }
}
