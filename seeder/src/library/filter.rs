//! Which files of a folder go into a torrent: not junk, included, and not excluded. Pure.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::junk::is_junk;

/// The pattern is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pattern {pattern:?} cannot be understood: {reason}; try '*.raw', 'drafts' or '**/private/**'")]
pub struct InvalidPattern {
    pub pattern: String,
    pub reason: String,
}

/// A person's choice of files. The default leaves out junk and nothing else.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Empty: everything.
    include: GlobSet,
    exclude: GlobSet,
    keep_junk: bool,
}

/// Why something stays out, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    In,
    Junk,
    Excluded,
    NotIncluded,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            include: GlobSet::empty(),
            exclude: GlobSet::empty(),
            keep_junk: false,
        }
    }
}

impl Filter {
    /// Patterns as in `.gitignore`: without a slash they match a file or folder of that name anywhere, with one they
    /// match from the root; `*` stays within a name, `**` does not. What is in a matching folder matches too. Case does not
    /// matter: cameras write `IMG_1.JPG`, people type `*.jpg`.
    pub fn new(include: &[String], exclude: &[String], keep_junk: bool) -> Result<Self, InvalidPattern> {
        Ok(Self {
            include: globs(include)?,
            exclude: globs(exclude)?,
            keep_junk,
        })
    }

    /// Judges a file by its path below the root, components joined by `/`.
    pub fn judge_file(&self, path: &str) -> Verdict {
        match self.judge_folder(path) {
            Verdict::In if !self.include.is_empty() && !self.include.is_match(path) => Verdict::NotIncluded,
            verdict => verdict,
        }
    }

    /// Judges a folder: what is out may be left unread. Never [`Verdict::NotIncluded`], since a file in it may match.
    pub fn judge_folder(&self, path: &str) -> Verdict {
        let name = path.rsplit('/').next().unwrap_or(path);
        if !self.keep_junk && is_junk(name) {
            Verdict::Junk
        } else if self.exclude.is_match(path) {
            Verdict::Excluded
        } else {
            Verdict::In
        }
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet, InvalidPattern> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let invalid = |error: globset::Error| InvalidPattern {
            pattern: pattern.clone(),
            reason: error.kind().to_string(),
        };
        let trimmed = pattern.trim_end_matches('/');
        let rooted = match trimmed.strip_prefix('/').or_else(|| trimmed.strip_prefix("./")) {
            Some(rest) => rest.to_owned(),
            None if trimmed.contains('/') => trimmed.to_owned(),
            None => format!("**/{trimmed}"),
        };
        for glob in [format!("{rooted}/**"), rooted] {
            set.add(
                GlobBuilder::new(&glob)
                    .literal_separator(true)
                    .case_insensitive(true)
                    .build()
                    .map_err(invalid)?,
            );
        }
    }
    set.build().map_err(|error| InvalidPattern {
        pattern: patterns.join(" "),
        reason: error.kind().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        Filter::new(&owned(include), &owned(exclude), false).unwrap()
    }

    #[test]
    fn a_bare_pattern_matches_at_any_depth_and_a_folder_takes_its_content_along() {
        let filter = filter(&[], &["*.raw", "drafts", "/top.txt"]);
        for out in [
            "a.raw",
            "x/y/a.raw",
            "drafts/a.jpg",
            "x/drafts/y/a.jpg",
            "top.txt",
        ] {
            assert_eq!(filter.judge_file(out), Verdict::Excluded, "{out}");
        }
        for inside in ["a.jpg", "x/raw", "draftsx/a.jpg", "x/top.txt"] {
            assert_eq!(filter.judge_file(inside), Verdict::In, "{inside}");
        }
    }

    #[test]
    fn exclusion_wins_over_inclusion_and_junk_stays_out_of_both() {
        let filter = filter(&["*.jpg", "film/**", "._*"], &["bad.jpg"]);
        assert_eq!(filter.judge_file("x/a.jpg"), Verdict::In);
        assert_eq!(filter.judge_file("film/x/a.mkv"), Verdict::In);
        assert_eq!(filter.judge_file("x/bad.jpg"), Verdict::Excluded);
        assert_eq!(filter.judge_file("a.txt"), Verdict::NotIncluded);
        assert_eq!(filter.judge_file("x/._a.jpg"), Verdict::Junk);
        assert_eq!(filter.judge_folder("x"), Verdict::In);
    }

    #[test]
    fn case_does_not_matter() {
        let filter = filter(&["*.jpg"], &["Drafts"]);
        assert_eq!(filter.judge_file("x/IMG_1.JPG"), Verdict::In);
        assert_eq!(filter.judge_file("drafts/a.jpg"), Verdict::Excluded);
    }

    #[test]
    fn junk_can_be_kept() {
        let keeping = Filter::new(&[], &[], true).unwrap();
        assert_eq!(keeping.judge_file(".DS_Store"), Verdict::In);
    }

    #[test]
    fn a_star_stays_within_a_name() {
        let filter = filter(&[], &["a/*.txt"]);
        assert_eq!(filter.judge_file("a/b.txt"), Verdict::Excluded);
        assert_eq!(filter.judge_file("a/b/c.txt"), Verdict::In);
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = Filter::new(&[], &["a[".to_owned()], false).unwrap_err();
        assert!(error.to_string().contains("\"a[\""), "{error}");
    }
}
