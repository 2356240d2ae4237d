//! The connection to NATS against servers that demand something: logins, permissions, TLS.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is a failed test")]

use std::time::Duration;

use anyhow::Result;
use futures::StreamExt as _;
use nkeys::KeyPair;
use vitals_runtime::nats::{Connection, Error, Identity, NatsArgs};
use vitals_tests::certificates::LOCAL_NAMES;
use vitals_tests::{Authority, Folder, Nats, test};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_login_in_the_url_and_an_inbox_of_its_own_pass_tight_permissions() {
    test(async {
        let nats = Nats::start_with(
            r#"authorization { users: [
                { user: "agent", password: "p@ss", permissions: {
                    publish: { allow: ["question"] }, subscribe: { allow: ["_INBOX_agent.>"] } } }
                { user: "other", password: "other" } ] }"#,
        )
        .await?;
        let other = connect(&NatsArgs::plain(with_login(&nats, "other:other").parse()?)).await?;
        let mut questions = other.client().subscribe("question").await?;
        other.client().flush().await?;
        let agent = connect(&NatsArgs::plain(with_login(&nats, "agent:p%40ss").parse()?)).await?;
        let asking = agent.client().request("question", "?".into());
        let answering = async {
            let question = questions.next().await.and_then(|it| it.reply).unwrap();
            other.client().publish(question, "!".into()).await
        };
        let (answer, answered) = tokio::join!(asking, answering);
        answered?;
        assert_eq!(answer?.payload, "!");

        let wrong = NatsArgs::plain(with_login(&nats, "agent:wrong").parse()?);
        let error =
            open(&wrong).await?.connected(Duration::from_secs(1)).await.unwrap_err().to_string();
        assert!(error.contains("authorization violation") && !error.contains("wrong"), "{error}");
        Ok(())
    });
}

#[test]
fn an_nkey_can_be_rotated() {
    test(async {
        let folder = Folder::new("nkeys")?;
        let (old, new) = (KeyPair::new_user(), KeyPair::new_user());
        let nkey = folder.write("user.nk", old.seed()?)?;
        let users = |pair: &KeyPair| {
            format!("authorization {{ users: [ {{ nkey: {} }} ] }}", pair.public_key())
        };
        let nats = Nats::start_with(&users(&old)).await?;
        let mut args = NatsArgs::plain(nats.url().parse()?);
        args.nats_nkey = Some(nkey);
        let connection = connect(&args).await?;

        folder.write("user.nk", new.seed()?)?;
        let config = nats.folder().join("nats.conf");
        let rotated =
            std::fs::read_to_string(&config)?.replace(&old.public_key(), &new.public_key());
        std::fs::write(&config, rotated)?;
        nats.restart().await?;
        let mut state = connection.state();
        let again = vitals_runtime::nats::ConnectionState::Connected { connects: 2 };
        tokio::time::timeout(SOON, state.wait_for(|state| *state == again)).await??;
        connection.close(SOON).await?;
        Ok(())
    });
}

#[test]
fn tls_is_verified_both_ways() {
    test(async {
        let folder = Folder::new("tls")?;
        let (authority, stranger) = (Authority::new("ours")?, Authority::new("stranger")?);
        let server = authority.server(&LOCAL_NAMES)?.write(&folder, "server")?;
        let client = authority.client("hub")?.write(&folder, "client")?;
        let ca = folder.write("ca.crt", authority.pem())?;
        let nats = Nats::start_with(&format!(
            "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {ca:?}, verify: true }}",
            server.certificate, server.key,
        ))
        .await?;
        let mut args = NatsArgs::plain(nats.url().parse()?);
        args.nats_ca = Some(ca);
        args.nats_certificate = Some(client.certificate);
        args.nats_key = Some(client.key);
        args.nats_require_tls = true;
        connect(&args).await?.check_server()?;

        args.nats_ca = Some(folder.write("stranger.crt", stranger.pem())?);
        let refused = open(&args).await?.connected(Duration::from_secs(1)).await;
        assert!(matches!(refused, Err(Error::Unreachable { .. })), "{refused:?}");
        Ok(())
    });
}

#[test]
fn closing_sends_what_was_published_last() {
    test(async {
        let nats = Nats::start().await?;
        let args = NatsArgs::plain(nats.url().parse()?);
        let listener = connect(&args).await?;
        let mut heard = listener.client().subscribe("last").await?;
        // Answered only after the server knows the subscription.
        listener.client().request("$JS.API.INFO", "".into()).await?;
        for word in ["one", "two", "three"] {
            let connection = connect(&args).await?;
            connection.client().publish("last", word.into()).await?;
            connection.close(SOON).await?;
            let message = tokio::time::timeout(SOON, heard.next()).await?;
            assert_eq!(message.unwrap().payload, word);
        }
        Ok(())
    });
}

async fn open(args: &NatsArgs) -> Result<Connection> {
    let identity = Identity { name: "test".into(), inbox_prefix: "_INBOX_agent".into() };
    Ok(Connection::open(args, identity).await?)
}

async fn connect(args: &NatsArgs) -> Result<Connection> {
    let connection = open(args).await?;
    connection.connected(SOON).await?;
    Ok(connection)
}

fn with_login(nats: &Nats, login: &str) -> String {
    format!("nats://{login}@{}", nats.address())
}
