//! Who may connect, and how: decided once, at start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::ServerConfig;
use tokio::sync::watch;
use vitals_runtime::tasks::Tasks;

use super::accept::Tls;
use super::auth::{self, Tokens};
use super::tls::{self, TlsFiles};

/// Between two readings of the files.
const READ_INTERVAL: Duration = Duration::from_secs(30);

/// The flags of the port.
#[derive(Clone, Debug, clap::Args)]
pub struct SecurityArgs {
    /// Address of gRPC; any but a loopback address needs TLS and a token
    #[arg(long, env = "VITALS_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:7700")]
    pub listen: SocketAddr,
    /// File with our certificate and those between it and the root (PEM); read again every 30 s
    #[arg(long, env = "VITALS_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// File with the key of the certificate (PEM); read again every 30 s
    #[arg(long, env = "VITALS_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// File with roots (PEM): only clients with a certificate from them may connect
    #[arg(long, env = "VITALS_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
    /// File with the bearer tokens that are taken, one on a line; read again every 30 s
    #[arg(long, env = "VITALS_TOKEN_FILE", value_name = "FILE", group = "bearer")]
    pub token_file: Option<PathBuf>,
    /// The bearer token that is taken; in the environment rather than on the command line
    #[arg(
        long,
        env = "VITALS_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        group = "bearer"
    )]
    pub token: Option<BearerToken>,
    /// Serve an address that others can reach without TLS or without a token: whoever reaches it sees all
    #[arg(long, env = "VITALS_INSECURE")]
    pub insecure: bool,
}

/// A token that is not shown in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(String);

impl std::str::FromStr for BearerToken {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Debug for BearerToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("BearerToken(…)")
    }
}

/// Why the port is not served so. Final, until somebody changes the flags or the files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others could reach the address and see everything.
    #[error(
        "refused to serve {listen} without {missing}: others can reach that address. Set {flags}, or listen on \
         127.0.0.1, or say --insecure where something in front of the hub does both"
    )]
    Exposed {
        /// The address.
        listen: SocketAddr,
        /// What is missing.
        missing: &'static str,
        /// The flags that give it.
        flags: &'static str,
    },
    /// TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// Tokens cannot be used.
    #[error(transparent)]
    Auth(#[from] auth::Error),
}

/// How one address is served, checked.
#[derive(Clone, Debug)]
pub struct Security {
    pub(super) listen: SocketAddr,
    tls: Option<(TlsFiles, Arc<ServerConfig>)>,
    pub(super) tokens: Option<Tokens>,
}

impl Security {
    /// Reads the files and checks that the address is not served to all the world.
    pub fn new(args: SecurityArgs) -> Result<Self, Error> {
        let SecurityArgs { listen, tls_cert, tls_key, tls_client_ca, token_file, token, insecure } =
            args;
        let files = tls_cert.zip(tls_key);
        let files =
            files.map(|(certificate, key)| TlsFiles { certificate, key, client_ca: tls_client_ca });
        let tokens = match (token_file, token) {
            (Some(path), _) => Some(Tokens::in_file(path)?),
            (None, Some(BearerToken(token))) => Some(Tokens::one(&token)?),
            (None, None) => None,
        };
        let (tls_flags, token_flags) = ("--tls-cert and --tls-key", "--token-file");
        let missing = match (&files, &tokens) {
            (None, None) => Some(("TLS and a token", "--tls-cert, --tls-key and --token-file")),
            (None, Some(_)) => Some(("TLS", tls_flags)),
            (Some(_), None) => Some(("a token", token_flags)),
            (Some(_), Some(_)) => None,
        };
        match missing {
            Some((missing, flags)) if !listen.ip().is_loopback() => {
                if !insecure {
                    return Err(Error::Exposed { listen, missing, flags });
                }
                tracing::warn!(%listen, missing, "served to whoever reaches it (--insecure)");
            }
            Some(_) | None => {}
        }
        let tls = files.map(|files| Ok::<_, Error>((files.clone(), files.read()?))).transpose()?;
        Ok(Self { listen, tls, tokens })
    }

    /// A loopback address, without TLS and token: for one process on one machine, and for tests.
    pub fn loopback(port: u16) -> Self {
        Self { listen: ([127, 0, 0, 1], port).into(), tls: None, tokens: None }
    }

    /// What TLS is done with. Starts the task that reads the files again.
    pub(super) fn tls(&self, tasks: &Tasks) -> Tls {
        let tokens = self.tokens.clone();
        let (files, config) = match &self.tls {
            Some((files, config)) => {
                (Some(files.clone()), Some(watch::channel(Arc::clone(config))))
            }
            None => (None, None),
        };
        let (sender, receiver) = config.unzip();
        let renewal = files.zip(sender);
        if renewal.is_some() || tokens.is_some() {
            let stopping = tasks.stopping();
            tasks.spawn("renewal of certificates and tokens", async move {
                let renewing = renew(renewal, tokens);
                tokio::select! {
                    () = stopping.cancelled() => {}
                    () = renewing => {}
                }
                Ok::<(), Error>(())
            });
        }
        receiver
    }
}

/// Reads the files again and again. What cannot be read leaves what was read before.
async fn renew(tls: Option<(TlsFiles, watch::Sender<Arc<ServerConfig>>)>, tokens: Option<Tokens>) {
    let mut interval =
        tokio::time::interval_at(tokio::time::Instant::now() + READ_INTERVAL, READ_INTERVAL);
    loop {
        interval.tick().await;
        if let Some((files, sender)) = &tls {
            match files.read() {
                // A receiver that is gone is a server that is stopping.
                Ok(config) => drop(sender.send(config)),
                Err(error) => {
                    tracing::error!(%error, "certificate not renewed: the old one is kept")
                }
            }
        }
        if let Some(Err(error)) = tokens.as_ref().map(Tokens::read_again) {
            tracing::error!(%error, "tokens not renewed: the old ones are kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    /// Certificate and key of `localhost`, made on the spot.
    fn certificate(folder: &std::path::Path) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (certificate, key)
    }

    #[test]
    fn an_address_that_others_reach_needs_tls_and_a_token() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = certificate(folder.path());
        for (listen, tls, token, insecure, want) in [
            ("127.0.0.1:7700", false, false, false, None),
            ("[::1]:7700", false, false, false, None),
            ("0.0.0.0:7700", false, false, false, Some("TLS and a token")),
            ("0.0.0.0:7700", true, false, false, Some("a token")),
            ("10.1.2.3:7700", false, true, false, Some("TLS")),
            ("[::]:7700", true, true, false, None),
            ("0.0.0.0:7700", false, false, true, None),
        ] {
            let args = SecurityArgs {
                listen: listen.parse().unwrap(),
                tls_cert: tls.then(|| certificate.clone()),
                tls_key: tls.then(|| key.clone()),
                tls_client_ca: None,
                token_file: None,
                token: token.then(|| TOKEN.parse().unwrap()),
                insecure,
            };
            let got = Security::new(args).map(drop).map_err(|error| error.to_string());
            match want {
                None => assert_eq!(got, Ok(()), "{listen}"),
                Some(missing) => {
                    let want = format!("refused to serve {listen} without {missing}: ");
                    let message = got.unwrap_err();
                    assert!(message.starts_with(&want), "{message}");
                    assert!(message.contains("--insecure"), "{message}");
                }
            }
        }
    }

    #[test]
    fn files_that_do_not_fit_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = certificate(folder.path());
        let read = |certificate: &PathBuf, key: &PathBuf, client_ca: Option<&PathBuf>| {
            let client_ca = client_ca.cloned();
            let files = TlsFiles { certificate: certificate.clone(), key: key.clone(), client_ca };
            files.read().map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(read(&certificate, &key, Some(&certificate)), Ok(()));
        let message = read(&key, &key, None).unwrap_err();
        assert!(message.starts_with("there is no certificate in"), "{message}");
        let message = read(&certificate, &certificate, None).unwrap_err();
        assert!(message.starts_with("cannot read a private key in"), "{message}");
        let message = read(&folder.path().join("none"), &key, None).unwrap_err();
        assert!(message.starts_with("cannot read certificate in"), "{message}");
    }
}
