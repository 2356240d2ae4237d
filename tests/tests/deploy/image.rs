//! The binaries of the images, as they run in a pod: static, in a root that holds nothing but them, by a user who may write
//! nothing, with what Kubernetes puts into a pod and the variables that our charts set.
//!
//! Images themselves are not built here: that needs a container engine, and a base image from a registry. What a Dockerfile of
//! ours adds to a binary that was built so is a `COPY` into an empty root.

use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::net::UdpSocket;
use vitals::args::HubArgs;
use vitals::hub::Hub;
use vitals_proto::v1::FreshnessState;
use vitals_tests::certificates::LOCAL_NAMES;
use vitals_tests::port::Port;
use vitals_tests::{
    Authority, Binary, Cluster, Folder, Nats, Program, cluster_test, http, objects, skip, wait_for,
};

use crate::helm::{Release, documents, of_kind};
use crate::installed::installed;

const SOON: Duration = Duration::from_secs(90);

/// Of the user and the group in the images.
const NOBODY: u32 = 65_532;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// As in a pod: a name without dots is looked for below these.
const RESOLV_CONF: &str = "search vitals.svc.cluster.local svc.cluster.local cluster.local\n\
                           options ndots:5 timeout:1 attempts:3\n";

/// Where a Service `nats` in the namespace `vitals` is called so.
const NATS_NAME: &str = "nats.vitals.svc.cluster.local";

#[test]
fn static_binaries_run_as_in_a_pod_from_an_empty_root() {
    cluster_test(Box::pin(async {
        if std::fs::metadata("/proc/self").map_or(1, |it| it.uid()) != 0 {
            return skip::skip("only root can change the root of a process, on Linux");
        }
        let cluster = Cluster::shared("deploy").await?;
        let home = objects::namespace(&cluster.client().await?, "image").await?;
        let files = Folder::new("image-files")?;
        let authority = Authority::new("public")?;
        let served = authority.server(&["nats"])?.write(&files, "nats")?;
        let (certificate, key) = (served.certificate, served.key);
        let tls = format!("tls {{ cert_file: {certificate:?}, key_file: {key:?} }}");
        let nats = Nats::start_with(&tls).await?;
        let names = Names::serve(NATS_NAME).await?;
        let url = format!("nats.urls={{tls://nats:{}}}", nats.address().port());
        let (grpc, hub_http) = (Port::claim()?, Port::claim()?);

        let hub = Root::new(Binary::VitalsHub, &authority, &names)?;
        let certificate = Authority::new("hub")?;
        let ca = files.write("hub-ca.pem", certificate.pem())?;
        let certificate = certificate.server(&LOCAL_NAMES)?;
        hub.secret("etc/vitals/tls/tls.crt", &certificate.certificate_pem)?;
        hub.secret("etc/vitals/tls/tls.key", &certificate.key_pem)?;
        hub.secret("etc/vitals/token/tokens", TOKEN)?;
        let set = [url.as_str(), "nats.auth.method=none"];
        let env = env("vitals-hub", &set).await?;
        let listen = [("VITALS_LISTEN", grpc.address()), ("VITALS_HTTP", hub_http.address())];
        let _hub = hub.run(env, &listen, &[]).await?;
        ready(hub_http.address()).await?;

        let agent = Root::new(Binary::VitalsAgent, &authority, &names)?;
        let account = installed(&cluster, &home, &[]).await?;
        let mounted = "var/run/secrets/kubernetes.io/serviceaccount";
        agent.secret(&format!("{mounted}/token"), account.token())?;
        agent.secret(&format!("{mounted}/namespace"), &home)?;
        let api_server = std::fs::read_to_string(cluster.folder().join("authority.crt"))?;
        agent.secret(&format!("{mounted}/ca.crt"), &api_server)?;
        let set = ["clusterName=image", url.as_str(), "nats.auth.method=none"];
        let env = self::env("vitals-agent", &set).await?;
        let agent_http = Port::claim()?;
        let listen = [("VITALS_AGENT_LISTEN", agent_http.address())];
        let in_pod = cluster.api_server_address();
        let in_pod = [
            ("KUBERNETES_SERVICE_HOST", in_pod.ip().to_string()),
            ("KUBERNETES_SERVICE_PORT", in_pod.port().to_string()),
        ];
        let _agent = agent.run(env, &listen, &in_pod).await?;
        ready(agent_http.address()).await?;

        let client = Hub::new(&HubArgs {
            hub: format!("https://{}", grpc.address()),
            token_file: None,
            token: Some(TOKEN.to_owned()),
            tls_ca: Some(ca),
            insecure_token: false,
        })?;
        wait_for("the hub to have verified the cluster", SOON, async || {
            let clusters = client.list_clusters().await?;
            let seen = clusters.into_iter().find(|it| it.name == "image").context("unknown")?;
            let freshness = seen.freshness.unwrap_or_default();
            Ok((freshness.state() == FreshnessState::Fresh).then_some(()))
        })
        .await
    }));
}

/// Waits until a program says that it is ready.
async fn ready(address: SocketAddr) -> Result<()> {
    wait_for("it to be ready", SOON, async || {
        let answer = http::get(address, "/readyz").await?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(Some(()))
    })
    .await
}

/// The variables of the container that a chart starts.
async fn env(chart: &str, set: &[&str]) -> Result<Vec<(String, String)>> {
    let release = Release { chart, namespace: "vitals", set, values: None };
    let rendered = documents(&release.render().await?)?;
    let deployment = of_kind(&rendered, "Deployment");
    let pod = &deployment.first().context("a Deployment")?["spec"]["template"]["spec"];
    ensure!(pod["securityContext"]["runAsUser"] == NOBODY, "{pod}");
    let variable = |it: &Value| Some((it["name"].as_str()?.into(), it["value"].as_str()?.into()));
    let env = pod["containers"][0]["env"].as_array().context("variables")?;
    env.iter().map(|it| variable(it).with_context(|| format!("a Secret: {it}"))).collect()
}

/// What one container sees as `/`.
struct Root {
    binary: Binary,
    folder: Folder,
    logs: Folder,
}

impl Root {
    /// With what the image holds, and what Kubernetes adds: who serves names.
    fn new(binary: Binary, authority: &Authority, names: &Names) -> Result<Self> {
        let root = Self { binary, folder: Folder::new("root")?, logs: Folder::new("root-logs")? };
        let from = static_binary(binary)?;
        let to = root.folder.path().join(binary.name());
        std::fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?;
        root.write("etc/ssl/certs/ca-certificates.crt", authority.pem())?;
        let nameserver = format!("nameserver {}\n{RESOLV_CONF}", names.address.ip());
        root.write("etc/resolv.conf", &nameserver)?;
        root.write("etc/hosts", "127.0.0.1 localhost\n")?;
        Ok(root)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().context("a file in no folder")?)?;
        self.folder.write(name, text)
    }

    /// As a volume with `defaultMode: 0440` and the pod's `fsGroup`.
    fn secret(&self, name: &str, text: &str) -> Result<()> {
        let path = self.write(name, text)?;
        chown(&path, Some(0), Some(NOBODY))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o440))?;
        Ok(())
    }

    async fn run(
        &self,
        env: Vec<(String, String)>,
        listen: &[(&str, SocketAddr)],
        more: &[(&str, String)],
    ) -> Result<vitals_tests::Process> {
        let program = Program::new(format!("{}-of-image", self.binary.name()), "chroot")
            .arg(format!("--userspec={NOBODY}:{NOBODY}"))
            .arg(self.folder.path())
            .arg(format!("/{}", self.binary.name()));
        let env = env.into_iter().filter(|(name, _)| !listen.iter().any(|(it, _)| it == name));
        let program = env.fold(program, |program, (name, value)| program.env(name, value));
        let listen = listen.iter().map(|(name, address)| (*name, address.to_string()));
        let more = more.iter().map(|(name, value)| (*name, value.clone()));
        let program = listen.chain(more).fold(program, |it, (name, value)| it.env(name, value));
        program.start(self.logs.path()).await
    }
}

/// As `make static` builds it, beside the one of the tests.
fn static_binary(binary: Binary) -> Result<PathBuf> {
    let profile = binary.path()?.parent().context("a binary in no folder")?.to_owned();
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let name = profile.file_name().context("a folder without a name")?;
    let path = profile.with_file_name(target).join(name).join(binary.name());
    ensure!(path.is_file(), "{} is not built. Run `make test` or `make static`", path.display());
    Ok(path)
}

/// A server of names that knows one.
struct Names {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Names {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Names {
    /// Serves `name` as 127.0.0.1, on an address of this machine that nobody else uses.
    #[expect(clippy::disallowed_methods, reason = "a task of a test ends with the test")]
    async fn serve(name: &'static str) -> Result<Self> {
        let [a, b, c] = [(); 3].map(|()| fastrand::u8(2..254));
        let address = SocketAddr::from(([127, a, b, c], 53));
        let socket = UdpSocket::bind(address).await.context("bind port 53")?;
        let task = tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                if let Some(answer) = answer(&question[..length], name) {
                    socket.send_to(&answer, from).await.ok();
                }
            }
        });
        Ok(Self { address, task })
    }
}

/// The answer of RFC 1035 to a question with one name: 127.0.0.1 for `name`, nothing of another type, no such name otherwise.
fn answer(question: &[u8], name: &str) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let labels = name.split('.').flat_map(|label| {
        [&[u8::try_from(label.len()).expect("a short label")], label.as_bytes()].concat()
    });
    let wanted: Vec<u8> = labels.chain([0]).collect();
    let name_end = HEADER + question.get(HEADER..)?.iter().position(|byte| *byte == 0)? + 1;
    let (asked, rest) = (question.get(HEADER..name_end)?, question.get(name_end..name_end + 4)?);
    let is_known = asked.to_ascii_lowercase() == wanted;
    let has_address = is_known && rest[..2] == [0, 1];
    let code = if is_known { 0 } else { 3 };
    let mut answer = question.get(..2)?.to_vec();
    // An answer, recursion available; one question, as many answers.
    answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
    answer.extend([asked, rest].concat());
    if has_address {
        // The name of the question, an address, of this network, for 0 s, of 4 bytes.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}
