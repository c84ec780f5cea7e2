//! The order in which people expect files: numbers by value, letters without regard to case, folder by folder. Pure.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::str::Chars;

/// Compares two paths component by component. Only equal paths are equal.
pub fn natural_paths(left: &[String], right: &[String]) -> Ordering {
    let differing = left.iter().zip(right).map(|(left, right)| natural(left, right));
    differing
        .into_iter()
        .find(|order| order.is_ne())
        .unwrap_or_else(|| left.len().cmp(&right.len()))
}

/// Compares two names: `IMG_2` before `IMG_10`, `apple` before `Banana`. Names that differ only in case or in leading
/// zeros are ordered by their bytes, so that the order never depends on where they came from.
pub fn natural(left: &str, right: &str) -> Ordering {
    let (mut lefts, mut rights) = (left.chars().peekable(), right.chars().peekable());
    loop {
        let order = match (next_token(&mut lefts), next_token(&mut rights)) {
            (None, None) => return left.cmp(right),
            (left, right) => left.cmp(&right),
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// What a name is made of. The end of a name (`None`) comes before everything.
#[derive(PartialEq, Eq)]
enum Token {
    /// Decimal digits without leading zeros: a number of any size.
    Number(String),
    /// Any other character, in lower case.
    Letter(char),
}

impl Ord for Token {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => {
                left.len().cmp(&right.len()).then_with(|| left.cmp(right))
            }
            (Self::Letter(left), Self::Letter(right)) => left.cmp(right),
            // Numbers stand where the digits stand in the alphabet; no letter is a digit, so there are no ties.
            (Self::Number(_), Self::Letter(letter)) => '0'.cmp(letter),
            (Self::Letter(letter), Self::Number(_)) => letter.cmp(&'0'),
        }
    }
}

impl PartialOrd for Token {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn next_token(chars: &mut Peekable<Chars<'_>>) -> Option<Token> {
    let first = chars.next()?;
    if !first.is_ascii_digit() {
        return Some(Token::Letter(first.to_lowercase().next().unwrap_or(first)));
    }
    let mut digits = String::from(first);
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    Some(Token::Number(digits.trim_start_matches('0').to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(sorted: &[&str]) {
        let mut shuffled: Vec<&str> = sorted.iter().rev().copied().collect();
        shuffled.sort_by(|left, right| natural(left, right));
        assert_eq!(shuffled, sorted);
    }

    #[test]
    fn numbers_count_by_value_and_case_does_not_matter() {
        check(&[
            "IMG_1.jpg",
            "img_2.jpg",
            "IMG_10.jpg",
            "Img_20a.jpg",
            "IMG_100.jpg",
        ]);
        check(&["-x", "1", "2", "10", "a", "B", "c", "ä"]);
        check(&["Tag 09", "Tag 9", "Tag 10"]);
    }

    #[test]
    fn numbers_of_any_length_are_compared() {
        check(&[
            "99999999999999999999998",
            "99999999999999999999999",
            "100000000000000000000000",
        ]);
    }

    #[test]
    fn a_folder_stays_together() {
        let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        let mut paths = ["b/1", "A/2", "a/1", "A/10", "a"].map(path);
        paths.sort_by(|left, right| natural_paths(left, right));
        assert_eq!(paths, ["A/2", "A/10", "a", "a/1", "b/1"].map(path));
    }

    proptest! {
        #[test]
        fn the_order_is_total(names in prop::collection::vec("[a-bA-B0-2 ._-]{0,6}|\\PC{0,4}", 3)) {
            let [a, b, c] = &names[..] else { unreachable!() };
            prop_assert_eq!(natural(a, b), natural(b, a).reverse());
            prop_assert_eq!(natural(a, b).is_eq(), a == b);
            if natural(a, b).is_le() && natural(b, c).is_le() {
                prop_assert!(natural(a, c).is_le());
            }
        }
    }
}
