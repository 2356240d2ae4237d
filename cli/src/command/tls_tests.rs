//! A hub that speaks TLS, or does not: what is wrong is said, and which flag helps.

use std::path::PathBuf;

use rcgen::{CertificateParams, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use super::fake_hub::FakeHub;
use crate::Error;
use crate::args::HubArgs;
use crate::hub::Hub;

/// A certificate that has signed itself, and its key.
fn identity(issuer: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, issuer);
    change(&mut params);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn plain(_: &mut CertificateParams) {}

struct Authorities(TempDir);

impl Authorities {
    fn file(&self, name: &str, certificate: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, certificate).unwrap();
        path
    }
}

/// What is said to a person; of what went well, nothing.
async fn said(hub: &HubArgs) -> String {
    let asked = async { Hub::new(hub)?.list_clusters().await };
    asked.await.err().map(|error: Error| error.to_string()).unwrap_or_default()
}

async fn serve(identity: Option<(String, String)>) -> HubArgs {
    FakeHub { identity, ..FakeHub::default() }.serve().await
}

#[tokio::test]
async fn what_is_wrong_with_tls_is_told_from_a_hub_that_is_not_there() {
    let authorities = Authorities(tempfile::tempdir().unwrap());
    let other = authorities.file("other", &identity("other", plain).0);
    let namesake = authorities.file("namesake", &identity("hub", plain).0);

    let hub = identity("hub", plain);
    let right = authorities.file("right", &hub.0);
    let tls = serve(Some(hub)).await;
    let trusting =
        |hub: &HubArgs, tls_ca: &PathBuf| HubArgs { tls_ca: Some(tls_ca.clone()), ..hub.clone() };
    assert_eq!(said(&trusting(&tls, &right)).await, "");
    for wrong in [&other, &namesake] {
        let ended = said(&trusting(&tls, wrong)).await;
        assert!(
            ended.contains("signed its certificate. Give the one that has by --tls-ca FILE"),
            "{ended}"
        );
    }
    let ended = said(&trusting(&tls, &authorities.0.path().join("none"))).await;
    assert!(ended.starts_with("cannot use --tls-ca"), "{ended}");

    let unencrypted = HubArgs { hub: tls.hub.replace("https:", "http:"), ..tls };
    let ended = said(&unencrypted).await;
    assert!(
        ended.ends_with("broke: has it ended, or does it want TLS? Then name it with https://"),
        "{ended}"
    );
    let hub = serve(None).await;
    let encrypted = HubArgs { hub: hub.hub.replace("http:", "https:"), ..hub };
    let ended = said(&trusting(&encrypted, &other)).await;
    assert!(ended.contains("no TLS. Name it with http://"), "{ended}");

    type Change = fn(&mut CertificateParams);
    let cases: [(&str, Change, &str); 3] = [
        (
            "another name",
            |it| {
                it.subject_alt_names =
                    vec![rcgen::SanType::DnsName("hub.example".try_into().unwrap())]
            },
            "is for another name",
        ),
        ("expired", |it| it.not_after = rcgen::date_time_ymd(2001, 1, 1), "does not hold now"),
        (
            "an authority's own",
            |it| it.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained),
            "cannot be used. It needs one for servers",
        ),
    ];
    for (case, change, want) in cases {
        let hub = identity("hub", change);
        let authority = authorities.file("it", &hub.0);
        let ended = said(&trusting(&serve(Some(hub)).await, &authority)).await;
        assert!(ended.contains(want), "{case}: {ended}");
    }
}
