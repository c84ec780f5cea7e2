//! TLS on the public port: a certificate and its key from files that are watched, because certificates are renewed every few
//! weeks by programs that tell nobody. A renewal that cannot be used is named in the log, and the certificate before it stays.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path} holds no certificate in PEM form: {source}")]
    NoCertificate { path: PathBuf, source: pem::Error },
    #[error("{path} holds no private key in PEM form: {source}")]
    NoKey { path: PathBuf, source: pem::Error },
    #[error("the certificate in {certificate} and the key in {key} cannot be used: {source}")]
    Unusable {
        certificate: PathBuf,
        key: PathBuf,
        source: rustls::Error,
    },
}

/// The certificate in force, and the files it comes from.
pub(crate) struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    config: ArcSwap<ServerConfig>,
    seen: Mutex<[Option<Stamp>; 2]>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

/// What tells a file from its successor: inode, size, and the time it was changed, with its nanoseconds.
type Stamp = (u64, u64, i64, i64);

/// What a look at the files found.
#[derive(Debug)]
pub(crate) enum Look {
    Same,
    Renewed,
    /// The one before stays.
    Bad(CertificateError),
}

impl Certificate {
    /// Reads both files.
    pub(crate) fn open(certificate: &Path, key: &Path) -> Result<Arc<Self>, CertificateError> {
        // Stamped before it is read: what is changed in between is read again at the next look.
        let seen = [stamp(certificate), stamp(key)];
        let config = load(certificate, key)?;
        Ok(Arc::new(Self {
            chain: certificate.to_owned(),
            key: key.to_owned(),
            config: ArcSwap::from(config),
            seen: Mutex::new(seen),
        }))
    }

    /// Greets clients with what is in force now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Takes a renewal over, if there is one. Reads files.
    pub(crate) fn look(&self) -> Look {
        let found = [stamp(&self.chain), stamp(&self.key)];
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == found {
            return Look::Same;
        }
        *seen = found;
        match load(&self.chain, &self.key) {
            Ok(config) => {
                self.config.store(config);
                info!(certificate = %self.chain.display(), "the renewed certificate is in force");
                Look::Renewed
            }
            Err(error) => {
                warn!(%error, "the renewed certificate cannot be used; the one before stays");
                Look::Bad(error)
            }
        }
    }

    /// Looks every minute until the tracker stops.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        while stop
            .run_until_cancelled(tokio::time::sleep(LOOK_EVERY))
            .await
            .is_some()
        {
            let certificate = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || certificate.look()).await;
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, CertificateError> {
    let chain = pem(certificate)?;
    let chain = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<Vec<_>, _>>()
        .and_then(|chain| {
            if chain.is_empty() {
                Err(pem::Error::NoItemsFound)
            } else {
                Ok(chain)
            }
        })
        .map_err(|source| CertificateError::NoCertificate {
            path: certificate.to_owned(),
            source,
        })?;
    let private = PrivateKeyDer::from_pem_slice(&pem(key)?).map_err(|source| CertificateError::NoKey {
        path: key.to_owned(),
        source,
    })?;
    let unusable = |source| CertificateError::Unusable {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn pem(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
    }

    /// Puts files into the place of others, as programs that renew do.
    fn renew(folder: &Path, certificate: &[u8], key: &[u8]) {
        for (name, bytes) in [("certificate", certificate), ("key", key)] {
            std::fs::write(folder.join("new"), bytes).unwrap();
            std::fs::rename(folder.join("new"), folder.join(name)).unwrap();
        }
    }

    #[test]
    fn a_renewal_is_noticed_and_a_bad_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let read = |name| std::fs::read(given(name)).unwrap();
        renew(folder, &read("one.pem"), &read("one-key.pem"));
        let certificate = Certificate::open(&folder.join("certificate"), &folder.join("key")).unwrap();
        assert!(matches!(certificate.look(), Look::Same));
        let first = certificate.config.load_full();

        renew(folder, b"rubbish", &read("two-key.pem"));
        let look = certificate.look();
        assert!(
            matches!(look, Look::Bad(CertificateError::NoCertificate { .. })),
            "{look:?}"
        );
        // The certificate of one with the key of the other, as in the middle of a renewal.
        renew(folder, &read("one.pem"), &read("two-key.pem"));
        let look = certificate.look();
        assert!(
            matches!(look, Look::Bad(CertificateError::Unusable { .. })),
            "{look:?}"
        );
        assert!(matches!(certificate.look(), Look::Same));
        assert!(Arc::ptr_eq(&first, &certificate.config.load_full()));

        renew(folder, &read("two.pem"), &read("two-key.pem"));
        assert!(matches!(certificate.look(), Look::Renewed));
        assert!(!Arc::ptr_eq(&first, &certificate.config.load_full()));
        std::fs::remove_file(folder.join("key")).unwrap();
        assert!(matches!(
            certificate.look(),
            Look::Bad(CertificateError::Unreadable { .. })
        ));
    }

    #[test]
    fn files_that_are_none_are_named() {
        let error = Certificate::open(&given("one-key.pem"), &given("one-key.pem")).unwrap_err();
        assert!(
            error.to_string().contains("one-key.pem holds no certificate"),
            "{error}"
        );
        let error = Certificate::open(&given("one.pem"), &given("one.pem")).unwrap_err();
        assert!(
            error.to_string().contains("one.pem holds no private key"),
            "{error}"
        );
        let error = Certificate::open(&given("none.pem"), &given("one-key.pem")).unwrap_err();
        assert!(error.to_string().contains("cannot read"), "{error}");
    }
}
