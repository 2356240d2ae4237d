//! The flags of the connection to NATS.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use async_nats::ServerAddr;

use super::login::{Login, Secret};

/// Where NATS is and who we are there.
#[derive(Clone, Debug, clap::Args)]
pub struct NatsArgs {
    /// NATS servers, separated by commas; a user and password may stand in a URL (nats://user:password@host:4222)
    #[arg(
        long = "nats",
        env = "VITALS_NATS",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ',',
        default_value = "nats://127.0.0.1:4222"
    )]
    pub nats: Vec<ServerUrl>,
    /// Credentials file (JWT and seed); read again at every connect, so that it can be rotated
    #[arg(long, env = "VITALS_NATS_CREDENTIALS", value_name = "FILE", group = "nats_login")]
    pub nats_credentials: Option<PathBuf>,
    /// File with an nkey seed; read again at every connect
    #[arg(long, env = "VITALS_NATS_NKEY", value_name = "FILE", group = "nats_login")]
    pub nats_nkey: Option<PathBuf>,
    /// Token
    #[arg(long, env = "VITALS_NATS_TOKEN", hide_env_values = true, group = "nats_login")]
    pub nats_token: Option<Secret>,
    /// User
    #[arg(long, env = "VITALS_NATS_USER", group = "nats_login", requires = "nats_password")]
    pub nats_user: Option<String>,
    /// Password of the user
    #[arg(long, env = "VITALS_NATS_PASSWORD", hide_env_values = true, requires = "nats_user")]
    pub nats_password: Option<Secret>,
    /// File with the certificates to trust (PEM), instead of the system's; read again at every connect
    #[arg(long, env = "VITALS_NATS_CA", value_name = "FILE")]
    pub nats_ca: Option<PathBuf>,
    /// File with our certificate (PEM); read again at every connect
    #[arg(long, env = "VITALS_NATS_CERTIFICATE", value_name = "FILE", requires = "nats_key")]
    pub nats_certificate: Option<PathBuf>,
    /// File with the key of our certificate (PEM); read again at every connect
    #[arg(long, env = "VITALS_NATS_KEY", value_name = "FILE", requires = "nats_certificate")]
    pub nats_key: Option<PathBuf>,
    /// Refuse a connection without TLS (implied by tls:// and by a server that demands it)
    #[arg(long, env = "VITALS_NATS_REQUIRE_TLS")]
    pub nats_require_tls: bool,
    /// Prefix of our reply subjects, where the server's permissions demand another than the default
    #[arg(long, env = "VITALS_NATS_INBOX_PREFIX", value_name = "SUBJECT")]
    pub nats_inbox_prefix: Option<String>,
}

impl NatsArgs {
    /// Without a login and TLS, for tests and for a server of our own.
    pub fn plain(url: ServerUrl) -> Self {
        Self {
            nats: vec![url],
            nats_credentials: None,
            nats_nkey: None,
            nats_token: None,
            nats_user: None,
            nats_password: None,
            nats_ca: None,
            nats_certificate: None,
            nats_key: None,
            nats_require_tls: false,
            nats_inbox_prefix: None,
        }
    }

    /// How to log in: by a flag, else by what stands in the first URL that has a login.
    pub(super) fn login(&self) -> Login {
        if let Some(path) = &self.nats_credentials {
            return Login::CredentialsFile(path.clone());
        }
        if let Some(path) = &self.nats_nkey {
            return Login::NkeyFile(path.clone());
        }
        if let Some(token) = &self.nats_token {
            return Login::Token(token.clone());
        }
        if let (Some(user), Some(password)) = (&self.nats_user, &self.nats_password) {
            return Login::Password { user: user.clone(), password: password.clone() };
        }
        self.nats.iter().find_map(|url| url.login.clone()).unwrap_or(Login::Anonymous)
    }
}

/// The address of a NATS server, with the login that was written in it.
///
/// async-nats ignores logins in URLs, so they are taken out and handed over beside.
#[derive(Clone)]
pub struct ServerUrl {
    address: ServerAddr,
    login: Option<Login>,
}

/// Why a text is no address of a NATS server. The text is not shown: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the URL of a NATS server: write nats://host:4222 or tls://host:4222")]
pub struct UrlError(#[source] Option<std::io::Error>);

impl ServerUrl {
    /// Without the login.
    pub fn address(&self) -> &ServerAddr {
        &self.address
    }
}

impl FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let with_login =
            ServerAddr::from_str(text.trim()).map_err(|error| UrlError(Some(error)))?;
        if with_login.host().is_empty() || with_login.is_websocket() {
            return Err(UrlError(None));
        }
        let user = with_login.username().map(percent_decoded).transpose()?;
        let password = with_login.password().map(percent_decoded).transpose()?;
        let login = match (user, password) {
            (Some(user), Some(password)) => {
                Some(Login::Password { user, password: password.into() })
            }
            // As the other NATS clients read it: a user alone is a token.
            (Some(token), None) => Some(Login::Token(token.into())),
            (None, _) => None,
        };
        let mut url = with_login.into_inner();
        url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| UrlError(None))?;
        let address = ServerAddr::from_url(url).map_err(|error| UrlError(Some(error)))?;
        Ok(Self { address, login })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.address.as_url_str())
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

fn percent_decoded(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let pair =
                    digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                pair.ok_or(UrlError(None))?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| UrlError(None))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        nats: NatsArgs,
    }

    /// The addresses and the login of a command line.
    fn parsed(flags: &[&str]) -> Result<(Vec<String>, Login), String> {
        let words = std::iter::once(&"vitals").chain(flags);
        let args = Command::try_parse_from(words).map_err(|error| error.to_string())?.nats;
        Ok((args.nats.iter().map(ToString::to_string).collect(), args.login()))
    }

    #[test]
    fn reads_addresses_and_logins() {
        let password = |user: &str, word: &str| Login::Password {
            user: user.into(),
            password: word.to_owned().into(),
        };
        for (flags, addresses, login) in [
            (vec![], vec!["nats://127.0.0.1:4222"], Login::Anonymous),
            (vec!["--nats", "a:1,tls://b:2"], vec!["nats://a:1", "tls://b:2"], Login::Anonymous),
            (
                vec!["--nats", "nats://a:1,nats://u:p%40@b:2"],
                vec!["nats://a:1", "nats://b:2"],
                password("u", "p@"),
            ),
            (
                vec!["--nats", "nats://t0k3n@a:1"],
                vec!["nats://a:1"],
                Login::Token("t0k3n".to_owned().into()),
            ),
            (
                vec!["--nats", "nats://u:p@a:1", "--nats-user", "v", "--nats-password", "q"],
                vec!["nats://a:1"],
                password("v", "q"),
            ),
        ] {
            let want = Ok((addresses.into_iter().map(str::to_owned).collect(), login));
            assert_eq!(parsed(&flags), want, "{flags:?}");
        }
    }

    #[test]
    fn refuses_two_logins_and_what_is_no_address() {
        for flags in [
            vec!["--nats-token", "t", "--nats-user", "u", "--nats-password", "p"],
            vec!["--nats-user", "u"],
            vec!["--nats", "http://a"],
            vec!["--nats", "wss://a"],
            vec!["--nats", "nats://a:1,"],
            vec!["--nats-certificate", "c.pem"],
        ] {
            assert!(parsed(&flags).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let url: ServerUrl = "nats://user:pa55w0rd@a:1".parse().unwrap();
        let mut args = NatsArgs::plain(url);
        args.nats_token = Some("hidden".to_owned().into());
        let shown = format!("{args:?} {:?}", args.nats);
        assert!(!shown.contains("pa55w0rd") && !shown.contains("hidden"), "{shown}");
    }
}
