//! People and programs with fewer rights than the administrator.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Config};
use serde_json::json;
use vitals_proto::kind::Kind;

use super::{Cluster, kubeconfig};
use crate::objects::FIELD_MANAGER;

/// Where the users' service accounts are.
const NAMESPACE: &str = "kube-system";

/// How long a token is valid: longer than any test.
const TOKEN_SECONDS: i64 = 24 * 3600;

/// Somebody whom the API server knows by a token, with a kubeconfig of their own.
#[derive(Clone, Debug)]
pub struct User {
    name: String,
    token: String,
    kubeconfig: PathBuf,
}

impl User {
    /// What [`Cluster::user`] was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bearer token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A kubeconfig whose context is the cluster's name. It goes with the cluster.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// How this user connects.
    pub async fn config(&self) -> Result<Config> {
        kubeconfig::load(&self.kubeconfig).await
    }

    /// A new client of this user.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::try_from(self.config().await?)?)
    }
}

/// A rule that allows `verbs` on `resources` of one API group (`""` is the core group).
pub fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

/// Rules that allow to read these kinds: what an agent needs.
pub fn may_read<'a>(kinds: impl IntoIterator<Item = &'a Kind>) -> Vec<PolicyRule> {
    let of = |kind: &Kind| {
        let group = kind.resource().split_once('.').map_or("", |(_, group)| group);
        rule(group, &[kind.plural()], &["get", "list", "watch"])
    };
    kinds.into_iter().map(of).collect()
}

impl Cluster {
    /// Creates a user who may do, in all namespaces, what the rules say and nothing else.
    pub async fn user(&self, name: &str, rules: &[PolicyRule]) -> Result<User> {
        let client = self.client().await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name },
        });
        accounts.patch(name, &params(), &Patch::Apply(account)).await?;
        self.set_rules(name, rules).await?;
        bind(&client, name).await?;
        self.account(NAMESPACE, name).await
    }

    /// The user that a service account is, with a token of its own (the TokenRequest API, as kubelets ask it for a pod).
    pub async fn account(&self, namespace: &str, name: &str) -> Result<User> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let token = token(&accounts, name).await?;
        let access = kubeconfig::Access {
            context: &self.name,
            server: self.api_server_address(),
            authority: self.parts.authority(),
            token: &token,
        };
        let file = format!("kubeconfig-of-{namespace}-{name}.yaml");
        let kubeconfig = self.folder.write(&file, access.to_kubeconfig()?)?;
        Ok(User { name: name.to_owned(), token, kubeconfig })
    }

    /// From now on the user may do this instead. The API server heeds it within moments.
    pub async fn set_rules(&self, name: &str, rules: &[PolicyRule]) -> Result<()> {
        let roles: Api<ClusterRole> = Api::all(self.client().await?);
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": name },
            "rules": rules,
        });
        roles.patch(name, &params(), &Patch::Apply(role)).await?;
        Ok(())
    }
}

async fn bind(client: &Client, name: &str) -> Result<()> {
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": NAMESPACE }],
    });
    bindings.patch(name, &params(), &Patch::Apply(binding)).await?;
    Ok(())
}

async fn token(accounts: &Api<ServiceAccount>, name: &str) -> Result<String> {
    let request: TokenRequest = serde_json::from_value(json!({
        "spec": { "audiences": [], "expirationSeconds": TOKEN_SECONDS },
    }))?;
    let made = accounts.create_token_request(name, &PostParams::default(), &request).await?;
    let answer = made.status.context("a token request without an answer")?;
    answer.token.context("an answer without a token")
}

fn params() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}
