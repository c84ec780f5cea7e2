//! What stands around the info dictionary: trackers, web seeds and words. Wrong values are left out, not refused: they
//! do not change what the torrent is.

use std::collections::BTreeSet;

use crate::bencode::Value;

use super::names::is_turning;

/// More addresses than anybody announces to; a stranger's list ends here.
const URLS_MAX: usize = 1_000;

/// The longest address that is kept.
const URL_LENGTH_MAX: usize = 2_048;

/// The longest comment that is kept, in characters.
const TEXT_LENGTH_MAX: usize = 16 * 1024;

/// Tiers of announce URLs: `announce-list`, and `announce` where that holds none (BEP 12).
pub(super) fn trackers(root: &Value<'_>) -> Vec<Vec<String>> {
    let mut left = URLS_MAX;
    let tiers = root
        .get("announce-list")
        .and_then(|tiers| tiers.list())
        .into_iter()
        .flatten();
    let tiers = tiers.filter_map(|tier| {
        let urls: Vec<String> = tier.list()?.filter_map(|url| tracker(&url)).take(left).collect();
        left -= urls.len();
        (!urls.is_empty()).then_some(urls)
    });
    let tiers: Vec<Vec<String>> = tiers.collect();
    if tiers.is_empty() {
        return root
            .get("announce")
            .and_then(|url| tracker(&url))
            .map(|url| vec![vec![url]])
            .unwrap_or_default();
    }
    tiers
}

/// Web seeds (BEP 19): one string or a list.
pub(super) fn web_seeds(root: &Value<'_>) -> Vec<String> {
    let Some(urls) = root.get("url-list") else {
        return Vec::new();
    };
    let mut seen = BTreeSet::new();
    let many = urls.list().into_iter().flatten();
    let one = urls.bytes().map(|_| urls).into_iter();
    one.chain(many)
        .filter_map(|url| address(&url, &["http", "https", "ftp"]))
        .filter(|url| seen.insert(url.clone()))
        .take(URLS_MAX)
        .collect()
}

/// One line for people: what is no UTF-8 is replaced, and nothing in it can steer a terminal or turn the direction of writing.
pub(super) fn line(dictionary: &Value<'_>, key: &str) -> Option<String> {
    Some(text(dictionary, key)?.replace('\n', " "))
}

/// The same with line breaks kept.
pub(super) fn text(dictionary: &Value<'_>, key: &str) -> Option<String> {
    let bytes = dictionary.get(key)?.bytes().filter(|bytes| !bytes.is_empty())?;
    let clean = |letter: char| {
        if letter.is_control() && letter != '\n' {
            ' '
        } else {
            letter
        }
    };
    let text = String::from_utf8_lossy(bytes);
    Some(
        text.chars()
            .filter(|letter| !is_turning(*letter))
            .take(TEXT_LENGTH_MAX)
            .map(clean)
            .collect(),
    )
}

fn tracker(url: &Value<'_>) -> Option<String> {
    address(url, &["http", "https", "udp", "ws", "wss"])
}

fn address(url: &Value<'_>, schemes: &[&str]) -> Option<String> {
    let url = url.text()?.trim();
    let (scheme, rest) = url.split_once("://")?;
    let known = schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme));
    let sound = !rest.is_empty() && url.len() <= URL_LENGTH_MAX && !url.chars().any(char::is_control);
    (known && sound).then(|| url.to_owned())
}
