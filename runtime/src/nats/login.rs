//! How we log in to NATS. Files are read at every connect, so that credentials can be rotated: async-nats
//! itself reads them once.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use async_nats::{Auth, AuthError};
use nkeys::KeyPair;

/// A word that is not shown in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// How to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Login {
    Anonymous,
    Password {
        user: String,
        password: Secret,
    },
    Token(Secret),
    /// A file with a user's seed: `SU…`, alone on a line.
    NkeyFile(PathBuf),
    /// A file with a JWT and a seed, between lines of dashes, as `nsc` writes it.
    CredentialsFile(PathBuf),
}

impl Login {
    /// Answers the server's challenge.
    pub(super) async fn answer(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let mut auth = Auth::new();
        match self {
            Self::Anonymous => {}
            Self::Password { user, password } => {
                auth.username = Some(user.clone());
                auth.password = Some(password.0.clone());
            }
            Self::Token(token) => auth.token = Some(token.0.clone()),
            Self::NkeyFile(path) => {
                let text = read(path).await?;
                let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
                let pair = key_pair(path, seed)?;
                auth.nkey = Some(pair.public_key());
                auth.signature = Some(pair.sign(nonce).map_err(AuthError::new)?);
            }
            Self::CredentialsFile(path) => {
                let text = read(path).await?;
                let jwt = section(&text, "NATS USER JWT");
                let jwt =
                    jwt.ok_or_else(|| AuthError::new(format!("no JWT in {}", path.display())))?;
                let pair = key_pair(path, section(&text, "USER NKEY SEED"))?;
                auth.jwt = Some(jwt.to_owned());
                auth.signature = Some(pair.sign(nonce).map_err(AuthError::new)?);
            }
        }
        Ok(auth)
    }
}

async fn read(path: &Path) -> Result<String, AuthError> {
    let text = tokio::fs::read_to_string(path).await;
    text.map_err(|error| AuthError::new(format!("cannot read {}: {error}", path.display())))
}

fn key_pair(path: &Path, seed: Option<&str>) -> Result<KeyPair, AuthError> {
    let seed = seed.ok_or_else(|| AuthError::new(format!("no seed in {}", path.display())))?;
    KeyPair::from_seed(seed)
        .map_err(|error| AuthError::new(format!("bad seed in {}: {error}", path.display())))
}

/// The line after `-----BEGIN title-----`.
fn section<'a>(text: &'a str, title: &str) -> Option<&'a str> {
    let begin = format!("BEGIN {title}");
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("---") && line.contains(&begin))?;
    lines.next().filter(|line| !line.is_empty() && !line.starts_with("---"))
}

impl From<String> for Secret {
    fn from(word: String) -> Self {
        Self(word)
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(word: &str) -> Result<Self, Infallible> {
        Ok(Self(word.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\r\n{jwt}\r\n------END NATS USER JWT------\r\n\r\n\
             ************************* IMPORTANT *************************\r\n\r\n\
             -----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\r\n"
        )
    }

    #[tokio::test]
    async fn files_are_read_at_every_connect() {
        let path = std::env::temp_dir().join(format!("vitals-login-{}.creds", std::process::id()));
        let login = Login::CredentialsFile(path.clone());
        for jwt in ["first", "second"] {
            let pair = KeyPair::new_user();
            std::fs::write(&path, credentials(jwt, &pair.seed().unwrap())).unwrap();
            let auth = login.answer(b"nonce").await.unwrap();
            assert_eq!(auth.jwt.as_deref(), Some(jwt));
            pair.verify(b"nonce", &auth.signature.unwrap()).unwrap();
            let auth = Login::NkeyFile(path.clone()).answer(b"nonce").await.unwrap();
            assert_eq!(auth.nkey, Some(pair.public_key()));
        }
        std::fs::write(&path, "nothing").unwrap();
        let error = login.answer(b"nonce").await.err().unwrap().to_string();
        assert!(error.contains("no JWT in"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let error = login.answer(b"nonce").await.err().unwrap().to_string();
        assert!(error.contains("cannot read"), "{error}");
    }
}
