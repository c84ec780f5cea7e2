//! The token of the owner's port: made at the first start, in a file that only the owner reads.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use data_encoding::BASE32_NOPAD;
use edge::folder::write_whole;
use rand::RngExt as _;
use rand::rngs::StdRng;
use subtle::ConstantTimeEq as _;
use tracing::warn;

/// The file's name in the state folder.
const NAME: &str = "api-token";

/// Random bytes of a token: no guess comes near.
const BYTES: usize = 20;

/// A token of fewer letters, written there by hand, could be guessed.
const LETTERS_MIN: usize = 20;

/// One of more cannot be sent.
const LETTERS_MAX: usize = 128;

/// What must be shown. It is never printed.
pub struct Token(String);

/// The token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot use {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} holds no token of {LETTERS_MIN} to {LETTERS_MAX} letters and digits; delete it, and a new one is made", path.display())]
    Unusable { path: PathBuf },
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// The token of a state folder, which the caller owns.
    pub fn open(folder: &Path) -> Result<Self, TokenError> {
        let path = folder.join(NAME);
        let trouble = |source| TokenError::File {
            path: path.clone(),
            source,
        };
        match File::open(&path) {
            Ok(file) => {
                close_to_others(&file, &path).map_err(trouble)?;
                let mut text = String::new();
                // One more, to see that it is too long; and the end of the line.
                file.take(LETTERS_MAX as u64 + 2)
                    .read_to_string(&mut text)
                    .map_err(trouble)?;
                let text = text.trim_end();
                let good = (LETTERS_MIN..=LETTERS_MAX).contains(&text.len())
                    && text.bytes().all(|byte| byte.is_ascii_graphic());
                if good {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(TokenError::Unusable { path })
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let token = Self::new();
                write_whole(&path, format!("{}\n", token.0).as_bytes()).map_err(trouble)?;
                Ok(token)
            }
            Err(error) => Err(trouble(error)),
        }
    }

    fn new() -> Self {
        let bytes: [u8; BYTES] = rand::make_rng::<StdRng>().random();
        Self(BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }

    /// Whether this is it; a wrong one takes as long, whatever of it is right.
    pub(super) fn is(&self, said: &str) -> bool {
        self.0.as_bytes().ct_eq(said.as_bytes()).into()
    }
}

fn close_to_others(file: &File, path: &Path) -> io::Result<()> {
    let mut mode = file.metadata()?.permissions();
    if mode.mode() & 0o077 != 0 {
        mode.set_mode(0o600);
        file.set_permissions(mode)?;
        warn!(file = %path.display(), "others could read the token; now they cannot. If somebody may have, delete it and restart");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_token_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let made = Token::open(folder.path()).unwrap();
        let path = folder.path().join(NAME);
        assert_eq!((made.0.len(), mode(&path)), (32, 0o600));
        let again = Token::open(folder.path()).unwrap();
        assert!(again.is(&made.0));
        for wrong in ["", "a", &made.0.to_uppercase(), &format!("{} ", made.0)] {
            assert!(!again.is(wrong), "{wrong}");
        }
        assert!(!format!("{made:?}").contains(&made.0));
    }

    #[test]
    fn a_token_that_others_could_read_is_closed_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::write(&path, "abcdefghijklmnopqrstuvwxyz\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(
            Token::open(folder.path())
                .unwrap()
                .is("abcdefghijklmnopqrstuvwxyz")
        );
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn what_is_no_token_is_refused_by_name_and_left_alone() {
        for text in ["", "short", "two words that are long enough", &"a".repeat(200)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(NAME);
            fs::write(&path, text).unwrap();
            let refused = Token::open(folder.path()).unwrap_err().to_string();
            assert!(refused.contains("api-token holds no token"), "{refused}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
