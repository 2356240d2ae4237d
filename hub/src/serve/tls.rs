//! TLS of the port: certificate, key, and who may connect at all. The files are read again while the hub runs,
//! so that certificates can be renewed under it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ServerConfig, WebPkiClientVerifier};

/// What HTTP/2 and gRPC-Web over HTTP/1.1 are called in TLS.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate, and those between it and the root.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Roots of clients' certificates; where given, only clients with such a certificate may connect.
    pub client_ca: Option<PathBuf>,
}

/// Why TLS cannot be used. Final at start; later what was read before stays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read as PEM.
    #[error("cannot read {what} in {}", path.display())]
    Pem {
        /// What it should hold.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// A file holds nothing.
    #[error("there is no {what} in {}", path.display())]
    Empty {
        /// What it should hold.
        what: &'static str,
        /// Which.
        path: PathBuf,
    },
    /// Certificate and key cannot be used together.
    #[error("cannot use {} with its key", path.display())]
    Certificate {
        /// The certificate.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// The roots of clients cannot be used.
    #[error("cannot use {} to verify clients", path.display())]
    ClientCa {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl TlsFiles {
    /// Reads them.
    pub fn read(&self) -> Result<Arc<ServerConfig>, Error> {
        let Self { certificate, key, client_ca } = self;
        let chain = certificates("certificate", certificate)?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|source| Error::Pem {
            what: "a private key",
            path: key.clone(),
            source,
        })?;
        let provider = Arc::new(ring::default_provider());
        let unusable = |source| Error::Certificate { path: certificate.clone(), source };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let unusable = |source| Error::ClientCa { path: path.clone(), source };
                let mut roots = RootCertStore::empty();
                for root in certificates("certificate", path)? {
                    roots.add(root).map_err(|error| unusable(error.into()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(
                    verifier.build().map_err(|error| unusable(error.into()))?,
                )
            }
        };
        let mut config = builder.with_single_cert(chain, private).map_err(unusable)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Arc::new(config))
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |source| Error::Pem { what, path: path.into(), source };
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if found.is_empty() { Err(Error::Empty { what, path: path.into() }) } else { Ok(found) }
}
