//! The port as a stranger sees it who has grpcurl, a certificate and a token, and nothing of ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is a failed test"
)]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use vitals_tests::certificates::LOCAL_NAMES;
use vitals_tests::fleet::Fleet;
use vitals_tests::tools::{self, Tool};
use vitals_tests::{Authority, Binary, Folder, Nats, Output, Program, cluster_test, wait_for};

const SOON: Duration = Duration::from_secs(90);

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

const CATALOG: &str = "
apiVersion: backstage.io/v1alpha1
kind: Component
metadata: { name: checkout }
spec: { type: service, owner: team-payments }
";

// Needs no cluster, but Go, as all that `vitals-testbed build` builds.
#[test]
fn grpcurl_lists_services_and_streams_entities_over_tls_with_a_token() {
    cluster_test(async {
        let port = Secured::start().await?;

        let listed = port.ask(&["list"]).await?;
        for service in [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "vitals.v1.CatalogService",
            "vitals.v1.ClusterService",
            "vitals.v1.EntityService",
            "vitals.v1.ObjectService",
        ] {
            ensure!(listed.stdout.lines().any(|line| line == service), "{listed:?}");
        }
        let described = port.ask(&["describe", "vitals.v1.EntityService"]).await?;
        ensure!(described.stdout.contains("rpc WatchEntities"), "{described:?}");

        let streaming = port.client(TOKEN).arg(port.address());
        let streaming = streaming.arg("vitals.v1.EntityService/WatchEntities");
        let streaming = streaming.start(port.folder.path()).await?;
        let says = async |what: &str| {
            let waited = format!("the stream to say {what}");
            let said = wait_for(&waited, SOON, async || {
                Ok(streaming.stdout().contains(what).then_some(()))
            });
            streaming.while_running(said).await
        };
        says("\"component:default/checkout\"").await?;
        says("\"synced\"").await?;
        let put = r#"{"definitions": [{"ref": "component:default/ledger"}]}"#;
        port.call(&["-d", put], "vitals.v1.CatalogService/PutDefinitions").await?;
        says("\"component:default/ledger\"").await
    });
}

#[test]
fn without_tls_the_right_authority_or_the_token_nothing_is_said() {
    cluster_test(async {
        let port = Secured::start().await?;
        let refused = port.client("wrong").arg(port.address()).arg("list");
        let refused = ended(refused).await?;
        ensure!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
        ensure!(refused.stderr.contains("Unauthenticated"), "{refused:?}");

        let stranger = port.folder.write("stranger.pem", Authority::new("stranger")?.pem())?;
        for flags in [
            vec!["-plaintext".to_owned()],
            vec!["-cacert".to_owned(), stranger.display().to_string()],
        ] {
            let program = Program::new("stranger", port.grpcurl.clone()).args(&flags);
            let program = program.args(["-connect-timeout", "5", "-H", &authorization(TOKEN)]);
            let refused = program.arg(port.address()).arg("list");
            let refused = ended(refused).await?;
            ensure!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
        }
        Ok(())
    });
}

#[test]
fn vitals_speaks_tls_with_a_token_too() {
    cluster_test(async {
        let port = Secured::start().await?;
        let ask = async |flags: &[&str]| {
            let hub = format!("https://{}", port.address());
            let program = Binary::Vitals.program()?.args(["get", "--hub", &hub]).args(flags);
            ended(program).await
        };
        let (authority, token) =
            (port.authority.display().to_string(), port.token.display().to_string());
        let told = ask(&["--tls-ca", &authority, "--token-file", &token]).await?;
        ensure!(told.status.success(), "{told:?}");
        ensure!(told.stdout.contains("component:default/checkout"), "{told:?}");
        let refused = ask(&["--tls-ca", &authority]).await?;
        ensure!(refused.status.code() == Some(1), "{refused:?}");
        ensure!(refused.stderr.contains("--token-file"), "{refused:?}");
        let refused = ask(&["--token-file", &token]).await?;
        ensure!(refused.status.code() == Some(1), "{refused:?}");
        ensure!(refused.stderr.contains("--tls-ca"), "{refused:?}");
        Ok(())
    });
}

/// A hub that lets in only who has the token, with one registered entity.
struct Secured {
    fleet: Fleet,
    grpcurl: PathBuf,
    authority: PathBuf,
    token: PathBuf,
    folder: Folder,
}

impl Secured {
    async fn start() -> Result<Self> {
        let folder = Folder::new("secured")?;
        let authority = Authority::new("hub")?;
        let files = authority.server(&LOCAL_NAMES)?.write(&folder, "hub")?;
        let authority = folder.write("ca.pem", authority.pem())?;
        let token = folder.write("token", TOKEN)?;
        let catalog = folder.write("catalog-info.yaml", CATALOG)?;
        let flags = [
            ("--tls-cert", &files.certificate),
            ("--tls-key", &files.key),
            ("--token-file", &token),
            ("--definitions", &catalog),
        ];
        let flags: Vec<String> = flags
            .into_iter()
            .flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()])
            .collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let fleet = Fleet::start_hub(Nats::start().await?, &flags).await?;
        let grpcurl = tools::ensure(Tool::Grpcurl).await?;
        let port = Self { fleet, grpcurl, authority, token, folder };
        wait_for("the hub to answer", SOON, async || {
            let health = port.client(TOKEN).arg(port.address()).arg("grpc.health.v1.Health/Check");
            let health = ended(health).await?;
            Ok(health.stdout.contains("\"SERVING\"").then_some(()))
        })
        .await?;
        Ok(port)
    }

    fn address(&self) -> String {
        self.fleet.hub_address().to_string()
    }

    /// grpcurl, up to the address.
    fn client(&self, token: &str) -> Program {
        let program = Program::new("grpcurl", self.grpcurl.clone());
        program.arg("-cacert").arg(&self.authority).args(["-H", &authorization(token)])
    }

    async fn ask(&self, what: &[&str]) -> Result<Output> {
        let asked = ended(self.client(TOKEN).arg(self.address()).args(what)).await?;
        ensure!(asked.status.success(), "{asked:?}");
        Ok(asked)
    }

    async fn call(&self, flags: &[&str], method: &str) -> Result<()> {
        let called = self.client(TOKEN).args(flags).arg(self.address()).arg(method);
        let called = ended(called).await?;
        ensure!(called.status.success(), "{called:?}");
        Ok(())
    }
}

fn authorization(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

/// In a folder of its own, where nobody else's output is.
async fn ended(program: Program) -> Result<Output> {
    program.run(Folder::new("run")?.path(), SOON).await
}
