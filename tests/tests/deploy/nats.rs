//! The configurations of NATS, attacked: an agent says what it may, and nothing else, hears what it is asked, and nothing else.
//!
//! What the hub and an agent need is shown by a real hub and a real agent that run under them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::jetstream::{self, stream::Stream};
use async_nats::{Client, ConnectOptions, Event, HeaderMap, ServerError};
use futures::StreamExt as _;
use serde_json::Value;
use tokio::sync::mpsc;
use vitals_hub::streams::{StreamArgs, Streams};
use vitals_proto::identity::{KeyParts, ObjectKey};
use vitals_proto::kind::Kind;
use vitals_proto::v1::GetObjectRequest;
use vitals_proto::{MAGIC, subject};
use vitals_tests::fleet::Fleet;
use vitals_tests::{Cluster, Folder, Nats, Program, cluster_test, objects, test, tools, wait_for};

use crate::helm::deploy;

const SOON: Duration = Duration::from_secs(60);

/// Refusals that wait to be read; more are not made.
const REFUSALS_MAX: usize = 1_024;

/// What stands for a password, and the one of the tests.
const PASSWORDS: [(&str, &str); 3] = [
    ("$VITALS_HUB_PASSWORD", "p-of-hub"),
    ("$VITALS_EAST_PASSWORD", "p-of-agent-east"),
    ("$VITALS_WEST_PASSWORD", "p-of-agent-west"),
];

/// Lines that the testbed has of its own.
const TESTBED: [&str; 3] = ["listen:", "http:", "jetstream {"];

/// Whether each cluster has an account of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accounts {
    Single,
    PerCluster,
}

impl Accounts {
    const ALL: [Self; 2] = [Self::PerCluster, Self::Single];

    fn file(self) -> &'static str {
        match self {
            Self::Single => "nats-single-account.conf",
            Self::PerCluster => "nats.conf",
        }
    }

    fn values(self) -> &'static str {
        match self {
            Self::Single => "values-single-account.yaml",
            Self::PerCluster => "values.yaml",
        }
    }

    /// The file as it stands, but for passwords and what the testbed has of its own.
    fn of_file(self) -> Result<String> {
        let text = read(self.file())?;
        let (testbed, ours): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| TESTBED.iter().any(|it| line.starts_with(it)));
        ensure!(testbed.len() == TESTBED.len(), "{testbed:?}");
        with_passwords(&ours.join("\n"), |name| name.to_owned())
    }

    /// What the official chart would make of our values.
    fn of_values(self) -> Result<String> {
        let values: Value = serde_saphyr::from_str(&read(self.values())?)?;
        for (name, _) in PASSWORDS {
            let name = name.trim_start_matches('$');
            let env = &values["container"]["env"][name]["valueFrom"]["secretKeyRef"];
            ensure!(env["name"] == "vitals-nats-passwords", "{name} comes from nowhere");
        }
        ensure!(values["config"]["jetstream"]["enabled"] == true, "no JetStream");
        let merge = serde_json::to_string(&values["config"]["merge"])?;
        // An object in JSON is one in the server's own format, but for the braces around all.
        let merge = merge.trim_start_matches('{').strip_suffix('}').context("an object")?;
        with_passwords(merge, |name| format!("\"<< {name} >>\""))
    }
}

fn read(file: &str) -> Result<String> {
    let path = deploy().join("nats").join(file);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

fn with_passwords(text: &str, written: impl Fn(&str) -> String) -> Result<String> {
    let mut text = text.to_owned();
    for (name, password) in PASSWORDS {
        let name = written(name);
        ensure!(text.contains(&name), "{name} is not used");
        text = text.replace(&name, &format!("\"{password}\""));
    }
    let left = text.lines().find(|it| !it.starts_with('#') && it.contains("_PASSWORD"));
    ensure!(left.is_none(), "a password that is not known: {left:?}");
    Ok(text)
}

#[test]
fn the_files_are_valid_as_they_stand() {
    test(async {
        for accounts in Accounts::ALL {
            let file = deploy().join("nats").join(accounts.file());
            let server = Program::new("nats-server", tools::nats_server().await?.path);
            let server = PASSWORDS.iter().fold(server, |server, (name, password)| {
                server.env(name.trim_start_matches('$'), *password)
            });
            let checked = server.args(["-t", "--config"]).arg(file);
            let checked = checked.run(Folder::new("checked")?.path(), SOON).await?;
            ensure!(checked.status.success(), "{checked:?}");
        }
        Ok(())
    });
}

/// An account cannot take the services of another cluster, whatever its own part of the file says.
#[test]
fn an_account_is_given_the_services_of_its_own_cluster_alone() {
    test(async {
        let config = Accounts::PerCluster.of_file()?;
        for kind in ["object", "heartbeat", "usage"] {
            let import = |cluster: &str| {
                format!("account: VITALS, subject: \"vitals.v1.{kind}.{cluster}.>\"")
            };
            let stolen = config.replacen(&import("west"), &import("east"), 1);
            ensure!(stolen != config, "there is no import of {kind}");
            let folder = Folder::new("stolen")?;
            let file = folder.write("nats.conf", stolen)?;
            let server = Program::new("nats-server", tools::nats_server().await?.path);
            let checked = server.args(["-t", "--config"]).arg(file);
            let refused = checked.run(folder.path(), SOON).await?;
            let is_refused = !refused.status.success() && refused.stderr.contains("not authorized");
            ensure!(is_refused, "{kind}: {refused:?}");
        }
        Ok(())
    });
}

#[test]
fn an_agent_says_what_it_may_and_hears_what_it_is_asked() {
    test(Box::pin(async {
        for accounts in Accounts::ALL {
            for config in [accounts.of_file()?, accounts.of_values()?] {
                let scene = Scene::start(&config).await?;
                scene.agent_publishes().await?;
                scene.agent_answers().await?;
                scene.agent_is_refused().await?;
                scene.hub_is_refused().await?;
                scene.forged_replies(accounts).await?;
            }
        }
        Ok(())
    }));
}

/// A server with our streams, and who connects to it.
struct Scene {
    hub: Connected,
    east: Connected,
    west: Connected,
    objects: Stream,
    _nats: Nats,
}

impl Scene {
    async fn start(config: &str) -> Result<Self> {
        let nats = Nats::start_with(config).await?;
        let hub = Connected::as_user(&nats, "hub", "_INBOX_hub").await?;
        let east = Connected::as_user(&nats, "agent-east", "_INBOX_east").await?;
        let west = Connected::as_user(&nats, "agent-west", "_INBOX_west").await?;
        let context = jetstream::new(hub.client.clone());
        Streams::new(&stream_args()).ensure(&context).await?;
        let objects = context.get_stream("VITALS_OBJECTS").await?;
        let victim = jetstream::new(east.client.clone());
        victim.publish(VICTIM, MAGIC.to_vec().into()).await?.await?;
        Ok(Self { hub, east, west, objects, _nats: nats })
    }

    async fn agent_publishes(&self) -> Result<()> {
        let context = jetstream::new(self.west.client.clone());
        for subject in ["vitals.v1.object.west.pods.shop.a", "vitals.v1.heartbeat.west.main"] {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-TTL", "1h");
            headers.insert("KV-Operation", "PURGE");
            let sent = context.publish_with_headers(subject, headers, "said".into()).await?;
            sent.await.with_context(|| format!("publish on {subject}"))?;
            let stored = self.objects.get_last_raw_message_by_subject(subject).await?;
            ensure!(stored.payload == "said", "{subject}: {stored:?}");
        }
        // Samples reach every replica of the hub.
        let mut replicas = Vec::new();
        for _ in 0..2 {
            replicas.push(self.hub.client.subscribe("vitals.v1.usage.>").await?);
        }
        self.hub.is_done().await?;
        self.west.client.publish("vitals.v1.usage.west.main", "samples".into()).await?;
        for replica in &mut replicas {
            let heard = tokio::time::timeout(SOON, replica.next()).await?.context("samples")?;
            ensure!(heard.subject.as_str() == "vitals.v1.usage.west.main", "{heard:?}");
        }
        Ok(())
    }

    /// A question with an answer in pieces, each let through by a credit.
    async fn agent_answers(&self) -> Result<()> {
        let (logs, credit) = ("vitals.v1.request.west.logs", "vitals.v1.request.west.credit.1");
        let mut questions = self.west.client.subscribe("vitals.v1.request.west.>").await?;
        self.west.client.flush().await?;
        self.west.is_done().await?;
        let inbox = self.hub.client.new_inbox();
        let mut answer = self.hub.client.subscribe(inbox.clone()).await?;
        let asking = self.hub.client.publish_with_reply(logs, inbox, "which".into());
        asking.await?;
        let question = tokio::time::timeout(SOON, questions.next()).await?.context("a question")?;
        ensure!(question.subject.as_str() == logs, "{question:?}");
        let reply = question.reply.context("where to answer")?;
        for piece in 0..3_u8 {
            let said =
                self.west.client.publish_with_reply(reply.clone(), credit, vec![piece].into());
            said.await?;
            let heard = tokio::time::timeout(SOON, answer.next()).await?.context("a piece")?;
            ensure!(*heard.payload == [piece], "{heard:?}");
            // The credit's subject is known from the question; it is not read from the reply, which may be another by now.
            self.hub.client.publish(credit, "more".into()).await?;
            let more = tokio::time::timeout(SOON, questions.next()).await?.context("a credit")?;
            ensure!(more.subject.as_str() == credit && more.payload == "more", "{more:?}");
        }
        // Nobody is asked who is not there.
        let unheard = self.hub.client.request("vitals.v1.request.east.logs", "?".into()).await;
        ensure!(unheard.is_err_and(|it| it.to_string().contains("no responders")));
        Ok(())
    }

    async fn agent_is_refused(&self) -> Result<()> {
        for subject in [
            VICTIM,
            "vitals.v1.object.east",
            "vitals.v1.heartbeat.east.main",
            "vitals.v1.usage.east.main",
            "vitals.v1.request.east.repair",
            "vitals.v1.request.west.repair",
            "vitals.v1.health.component.default.shop",
            "vitals.v1.change.west.pods.shop.a",
            "vitals.v1.alert.prod.critical.x.component.default.shop.1",
            "$JS.API.STREAM.DELETE.VITALS_OBJECTS",
            "$JS.API.STREAM.PURGE.VITALS_OBJECTS",
            "$JS.API.STREAM.MSG.GET.VITALS_OBJECTS",
            "$JS.API.DIRECT.GET.VITALS_OBJECTS.vitals.v1.object.east.pods.shop.a",
            "$JS.API.CONSUMER.CREATE.VITALS_OBJECTS",
            "$JS.API.INFO",
            "$JS.ACK.VITALS_OBJECTS.x",
            "$KV.vitals_entities.x",
            "$SYS.REQ.SERVER.PING",
            "$SRV.PING",
            "_INBOX_hub.x",
            "_INBOX_east.x",
            "_R_.x",
            "anything",
        ] {
            self.west.may_not_publish(subject).await?;
        }
        for subject in [
            ">",
            "*",
            "vitals.>",
            "vitals.v1.object.>",
            "vitals.v1.object.west.>",
            "vitals.v1.heartbeat.>",
            "vitals.v1.usage.>",
            "vitals.v1.health.>",
            "vitals.v1.alert.>",
            "vitals.v1.request.>",
            "vitals.v1.request.*.logs",
            "vitals.v1.request.east.>",
            "_INBOX.>",
            "_INBOX_hub.>",
            "_INBOX_east.>",
            "_R_.>",
            "$JS.>",
            "$KV.>",
            "$SYS.>",
        ] {
            self.west.may_not_subscribe(subject).await?;
        }
        self.victim_is_unharmed().await
    }

    /// What no hub does, and nobody with its password shall.
    async fn hub_is_refused(&self) -> Result<()> {
        for subject in [
            VICTIM,
            "vitals.v1.heartbeat.east.main",
            "vitals.v1.usage.east.main",
            "$JS.API.STREAM.DELETE.VITALS_OBJECTS",
            "$JS.API.STREAM.RESTORE.VITALS_OBJECTS",
            "$JS.API.STREAM.SNAPSHOT.VITALS_OBJECTS",
            "$SYS.REQ.SERVER.PING",
            "_INBOX_east.x",
        ] {
            self.hub.may_not_publish(subject).await?;
        }
        for subject in [">", "vitals.v1.>", "vitals.v1.object.>", "_INBOX_east.>", "$SYS.>"] {
            self.hub.may_not_subscribe(subject).await?;
        }
        self.victim_is_unharmed().await
    }

    /// The server answers where it is told to, with words of its own: that is all that one who forges a reply can do, and
    /// with an account for each cluster not even that.
    async fn forged_replies(&self, accounts: Accounts) -> Result<()> {
        let mine = "vitals.v1.object.west.pods.shop.forged";
        let kept = self.messages().await?;
        for reply in [
            "$JS.API.STREAM.PURGE.VITALS_OBJECTS",
            "$JS.API.STREAM.DELETE.VITALS_OBJECTS",
            "$JS.API.STREAM.MSG.DELETE.VITALS_OBJECTS",
            "$JS.API.STREAM.UPDATE.VITALS_OBJECTS",
        ] {
            self.west.client.publish_with_reply(mine, reply, "forged".into()).await?;
        }
        self.west.is_done().await?;
        self.is_stored(mine, "forged").await?;
        ensure!(self.messages().await? == kept + 1, "a forged reply changed the stream");
        self.victim_is_unharmed().await?;

        self.west.client.publish_with_reply(mine, VICTIM, "forged again".into()).await?;
        self.west.is_done().await?;
        self.is_stored(mine, "forged again").await?;
        // Acknowledgements come in turn: behind this one, the forged one went wherever it went.
        jetstream::new(self.west.client.clone()).publish(mine, "said".into()).await?.await?;
        match accounts {
            Accounts::PerCluster => self.victim_is_unharmed().await,
            // An acknowledgement stands there: no message of an agent's, which the hub sees and has repaired.
            Accounts::Single => {
                wait_for("the acknowledgement", SOON, async || {
                    let stored = self.objects.get_last_raw_message_by_subject(VICTIM).await?;
                    Ok(stored.payload.starts_with(b"{\"stream\":").then_some(()))
                })
                .await
            }
        }
    }

    async fn is_stored(&self, subject: &str, payload: &str) -> Result<()> {
        wait_for(&format!("{payload} on {subject}"), SOON, async || {
            let stored = self.objects.get_last_raw_message_by_subject(subject).await?;
            Ok((stored.payload == *payload.as_bytes()).then_some(()))
        })
        .await
    }

    async fn messages(&self) -> Result<u64> {
        Ok(self.objects.get_info().await?.state.messages)
    }

    async fn victim_is_unharmed(&self) -> Result<()> {
        // All that the agents sent before was taken.
        self.west.is_done().await?;
        self.east.is_done().await?;
        let stored = self.objects.get_last_raw_message_by_subject(VICTIM).await?;
        ensure!(*stored.payload == MAGIC, "{stored:?}");
        Ok(())
    }
}

const VICTIM: &str = "vitals.v1.object.east.pods.shop.victim";

/// Somebody who is connected, and what the server refuses them.
struct Connected {
    client: Client,
    refusals: tokio::sync::Mutex<mpsc::Receiver<String>>,
}

impl Connected {
    async fn as_user(nats: &Nats, user: &str, inbox: &str) -> Result<Self> {
        let (sender, refusals) = mpsc::channel(REFUSALS_MAX);
        let password = format!("p-of-{user}");
        let options = ConnectOptions::with_user_and_password(user.to_owned(), password)
            .custom_inbox_prefix(inbox)
            .event_callback(move |event| {
                let sender = sender.clone();
                async move {
                    if let Event::ServerError(ServerError::Other(error)) = event {
                        drop(sender.try_send(error));
                    }
                }
            });
        let client = options.connect(nats.url()).await.with_context(|| format!("as {user}"))?;
        Ok(Self { client, refusals: refusals.into() })
    }

    async fn may_not_publish(&self, subject: &str) -> Result<()> {
        self.client.publish(subject.to_owned(), "{}".into()).await?;
        self.client.flush().await?;
        self.is_refused("publish", subject).await
    }

    async fn may_not_subscribe(&self, subject: &str) -> Result<()> {
        let mut subscription = self.client.subscribe(subject.to_owned()).await?;
        self.client.flush().await?;
        self.is_refused("subscription", subject).await?;
        subscription.unsubscribe().await?;
        Ok(())
    }

    async fn is_refused(&self, what: &str, subject: &str) -> Result<()> {
        let wanted = format!("permissions violation for {what} to \"{}\"", subject.to_lowercase());
        let refusal = async { self.refusals.lock().await.recv().await };
        match tokio::time::timeout(SOON, refusal).await {
            Ok(Some(refusal)) if refusal.to_lowercase().contains(&wanted) => Ok(()),
            other => bail!("{what} to {subject} is not refused: {other:?}"),
        }
    }

    /// Waits until the server has taken all that was sent: it answers pings in turn.
    async fn is_done(&self) -> Result<()> {
        self.client.flush().await?;
        self.may_not_publish("is.it.done").await
    }
}

fn stream_args() -> StreamArgs {
    use clap::Parser as _;
    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        streams: StreamArgs,
    }
    let Flags { streams } = Flags::parse_from(["streams", "--objects-max-mib", "64"]);
    streams
}

/// The programs themselves, each under its own login, and a forged reply against a real object.
#[test]
fn a_hub_and_an_agent_need_no_more_and_what_is_forged_is_repaired() {
    cluster_test(Box::pin(async {
        let cluster = Cluster::shared("deploy").await?;
        let client = cluster.client().await?;
        for accounts in Accounts::ALL {
            let home = objects::namespace(&client, "nats").await?;
            let many = objects::Many { deployments: 1, pods_each: 1 };
            objects::create_deployments(&client, &home, many).await?;
            let nats = Nats::start_with(&accounts.of_file()?).await?;
            let login = |user: &str| format!("nats://{user}:p-of-{user}@{}", nats.address());
            let (of_hub, of_agent) = (login("hub"), login("agent-east"));
            let west = Connected::as_user(&nats, "agent-west", "_INBOX_west").await?;
            let hub = Connected::as_user(&nats, "hub", "_INBOX_hub").await?;
            let mut fleet = Fleet::start_hub(nats, &["--nats", &of_hub]).await?;
            let flags =
                [["--nats", &of_agent], ["--cluster-name", "east"], ["--lease-namespace", &home]];
            let flags = [&flags.concat()[..], &["--allow-raw-objects"]].concat();
            fleet.start_agent("east", &cluster, &flags).await?;
            fleet.wait_fresh("east").await?;
            objects::wait_available(&client, &home, "app-0", SOON).await?;

            let key = ObjectKey::new(KeyParts {
                cluster: "east".parse()?,
                kind: Kind::Deployment,
                namespace: &home,
                name: "app-0",
            })?;
            // Asked by the hub, answered by the agent.
            let asked = GetObjectRequest { object: Some(key.to_ref()) };
            let given = fleet.hub()?.objects().get_object(asked).await?.into_inner();
            let given: Value = serde_json::from_slice(&given.json)?;
            ensure!(given["metadata"]["name"] == "app-0", "{given}");

            let (victim, mine) = (subject::object(&key), "vitals.v1.object.west.pods.shop.a");
            let objects = jetstream::new(hub.client.clone()).get_stream("VITALS_OBJECTS").await?;
            let before = objects.get_last_raw_message_by_subject(&victim).await?;
            west.client.publish_with_reply(mine, victim.clone(), "forged".into()).await?;
            west.is_done().await?;
            if accounts == Accounts::Single {
                // First the acknowledgement, then the object again.
                wait_for("the object to be repaired", SOON, async || {
                    let stored = objects.get_last_raw_message_by_subject(&victim).await?;
                    let is_again =
                        stored.sequence > before.sequence + 1 && stored.payload.starts_with(&MAGIC);
                    Ok(is_again.then_some(()))
                })
                .await?;
            }
            let since = vitals_runtime::clock::SystemClock.unix_ms();
            fleet.wait_verified_after("east", since).await?;
            let stored = objects.get_last_raw_message_by_subject(&victim).await?;
            ensure!(stored.payload.starts_with(&MAGIC), "{stored:?}");
            let entity = format!("workload:{home}/app-0");
            fleet.wait_entity(&entity, |it| it.verdict.is_some()).await?;
        }
        Ok(())
    }));
}
