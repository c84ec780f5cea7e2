//! Writes answers by hand: the HTTP head in front of a bencoded body, and the few texts that are the same for everyone.

use std::time::Duration;

use super::head::Framing;
use crate::swarm::Policy;

/// The only content type a tracker has: clients expect text, although it is bencode.
pub(crate) const CONTENT_TYPE: &str = "text/plain";

/// Sent to whom there is no room for; as short as HTTP allows, because it is written to strangers in a hurry.
pub(crate) const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nConnection: close\r\nRetry-After: 60\r\n\
      Content-Length: 94\r\n\r\nd14:failure reason26:too many connections, wait8:intervali60e12:min intervali60e8:retry ini1ee";

/// Sent to whoever began a request and did not finish it in time.
pub(crate) const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 23\r\n\r\n\
      the request is too slow";

/// Appends a whole answer with status 200.
pub(crate) fn write_ok(out: &mut Vec<u8>, framing: Framing, body: &[u8]) {
    out.extend_from_slice(opening(framing));
    write_number(out, body.len());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// Everything up to the number of bytes. The connection is named where the version's default does not hold.
fn opening(framing: Framing) -> &'static [u8] {
    match (framing.old, framing.keep_alive) {
        (false, true) => b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ",
        (false, false) => {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: "
        }
        (true, true) => {
            b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nConnection: keep-alive\r\nContent-Length: "
        }
        (true, false) => b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ",
    }
}

/// Appends the body of a reply to a farewell that was not accepted: nobody is here, and why.
pub(crate) fn write_farewell(why: &str, policy: &Policy, out: &mut Vec<u8>) {
    out.extend_from_slice(b"d8:completei0e10:incompletei0e8:intervali");
    write_number(out, whole_secs(policy.interval));
    out.extend_from_slice(b"e12:min intervali");
    write_number(out, whole_secs(policy.min_interval.min(policy.interval)));
    out.extend_from_slice(b"e5:peers0:15:warning message");
    write_number(out, why.len());
    out.push(b':');
    out.extend_from_slice(why.as_bytes());
    out.push(b'e');
}

fn whole_secs(duration: Duration) -> usize {
    usize::try_from(duration.as_secs()).unwrap_or(usize::MAX)
}

/// Appends a decimal number without the formatting machinery.
fn write_number(out: &mut Vec<u8>, number: usize) {
    let mut digits = [0_u8; 20];
    let mut rest = number;
    let mut start = digits.len();
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        start = place;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 7, 10, 99, 12_345, usize::MAX] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }

    #[test]
    fn a_farewell_that_is_not_accepted_is_a_reply_all_the_same() {
        let mut out = Vec::new();
        write_farewell("disabled: moved", &Policy::default(), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "d8:completei0e10:incompletei0e8:intervali1800e12:min intervali300e5:peers0:15:warning message15:disabled: movede"
        );
    }

    #[test]
    fn the_texts_sent_in_a_hurry_are_as_long_as_they_say() {
        for text in [BUSY, TOO_SLOW] {
            let text = std::str::from_utf8(text).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "))
                .unwrap();
            assert_eq!(length, body.len().to_string());
        }
    }
}
