//! Reads definitions from `catalog-info.yaml` files: Backstage entities, several in a file, separated by `---`.
//!
//! A document that cannot be read is named with file and line; the rest is taken. Users, groups, locations and
//! templates have no objects, and are left out.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vitals_proto::v1;
use vitals_runtime::yaml;

use super::{Definition, check, with_annotations};

/// Files that are read in a folder, at any depth.
const FILE_ENDINGS: [&str; 2] = ["yaml", "yml"];

/// Deepest folder below the one that was named.
const DEPTH_MAX: usize = 16;

/// Largest file. Bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Kinds that have no objects at all.
const WITHOUT_OBJECTS: [&str; 4] = ["user", "group", "location", "template"];

/// Something that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In which file.
    pub path: PathBuf,
    /// On which line; `None` where it is the file.
    pub line: Option<u64>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, message } = self;
        match line {
            Some(line) => write!(formatter, "{}:{line}: {message}", path.display()),
            None => write!(formatter, "{}: {message}", path.display()),
        }
    }
}

/// A Backstage entity, as far as it is read here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entity {
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
struct Spec {
    #[serde(default)]
    owner: Option<String>,
    #[serde(default)]
    system: Option<String>,
    #[serde(default)]
    domain: Option<String>,
}

/// All definitions in a file, or in the YAML files of a folder, ordered by reference; and what was not taken.
pub fn read(path: &Path) -> (Vec<Definition>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut by_ref: BTreeMap<_, (Definition, PathBuf)> = BTreeMap::new();
    for file in files(path, &mut problems) {
        let text = match read_file(&file) {
            Ok(text) => text,
            Err(error) => {
                problems.push(Problem { path: file, line: None, message: error.to_string() });
                continue;
            }
        };
        for (line, document) in yaml::documents(&text) {
            let problem = |line, message| Problem { path: file.clone(), line: Some(line), message };
            let definition = match read_document(document) {
                Ok(Some(definition)) => definition,
                Ok(None) => continue,
                Err((at, message)) => {
                    problems.push(problem(line + at - 1, message));
                    continue;
                }
            };
            let entity = definition.entity.clone();
            if let Some((_, first)) = by_ref.get(&entity) {
                let first = first.display();
                problems.push(problem(line, format!("{entity} is defined in {first} already")));
                continue;
            }
            by_ref.insert(entity, (definition, file.clone()));
        }
    }
    (by_ref.into_values().map(|(definition, _)| definition).collect(), problems)
}

/// The file, or the YAML files in the folder, in order. What is hidden is left out: the folder that Kubernetes makes of a
/// ConfigMap holds everything twice more, under names that begin with a dot.
fn files(path: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![(path.to_owned(), 0)];
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    while let Some((folder, depth)) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                problems.push(Problem { path: folder, line: None, message: error.to_string() });
                continue;
            }
        };
        for entry in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with('.') {
                continue;
            }
            let ending = entry.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if entry.is_dir() && depth < DEPTH_MAX {
                folders.push((entry, depth + 1));
            } else if FILE_ENDINGS.contains(&ending) {
                found.push(entry);
            }
        }
    }
    found.sort();
    found
}

fn read_file(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    std::fs::read_to_string(path)
}

/// The definition in a document; `None` where it defines nothing that has health. A problem comes with its line.
fn read_document(document: &str) -> Result<Option<Definition>, (u64, String)> {
    let options = serde_saphyr::options! { with_snippet: false };
    let entity: Entity =
        serde_saphyr::from_str_with_options(document, options).map_err(|error| {
            let line = error.location().map_or(1, |location| location.line().max(1));
            (line, format!("this is not a Backstage entity: {error}"))
        })?;
    let Entity { kind, metadata, spec } = entity;
    let kind = kind.to_lowercase();
    if WITHOUT_OBJECTS.contains(&kind.as_str()) {
        return Ok(None);
    }
    let Metadata { name, namespace, title, annotations } = metadata;
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let definition = v1::EntityDefinition {
        r#ref: format!("{kind}:{namespace}/{name}"),
        title: title.unwrap_or_default(),
        owner: spec.owner.unwrap_or_default(),
        system: spec.system.unwrap_or_default(),
        domain: spec.domain.unwrap_or_default(),
        ..Default::default()
    };
    let definition = with_annotations(definition, annotations.unwrap_or_default());
    check(definition).map(Some).map_err(|invalid| (1, invalid.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CATALOG: &str = "\
# The shop.
apiVersion: backstage.io/v1alpha1
kind: Component
metadata:
  name: Shop
  title: The shop
  annotations:
    backstage.io/kubernetes-id: shop
    backstage.io/kubernetes-cluster: EU 1
    argocd/app-name: shop
    example.org/other: x
spec:
  type: service
  lifecycle: production
  owner: payments
  system: checkout
---
apiVersion: backstage.io/v1alpha1
kind: Group
metadata:
  name: payments
---
kind: API
metadata:
  name: shop-api
---
kind: System
metadata:
  name: checkout
  namespace: Sales
  annotations:
    backstage.io/kubernetes-label-selector: app.kubernetes.io/part-of=checkout
spec:
  owner: user:ada
  domain: sales
";

    fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn references_are_completed_as_backstage_does() {
        let folder = tempfile::tempdir().unwrap();
        let (definitions, problems) = read(&write(folder.path(), "catalog-info.yaml", CATALOG));
        assert_eq!(problems, []);
        let [_api, shop, checkout] = &definitions[..] else { panic!("{definitions:?}") };
        let want = v1::EntityDefinition {
            r#ref: "component:default/shop".into(),
            title: "The shop".into(),
            owner: "group:default/payments".into(),
            system: "system:default/checkout".into(),
            kubernetes_id: "shop".into(),
            kubernetes_cluster: "EU 1".into(),
            annotations: [("argocd/app-name".into(), "shop".into())].into(),
            ..Default::default()
        };
        assert_eq!(shop.wire, want);
        let want = v1::EntityDefinition {
            r#ref: "system:sales/checkout".into(),
            owner: "user:sales/ada".into(),
            domain: "domain:sales/sales".into(),
            kubernetes_label_selector: "app.kubernetes.io/part-of=checkout".into(),
            ..Default::default()
        };
        assert_eq!(checkout.wire, want);
    }

    #[test]
    fn what_is_wrong_is_named_by_file_and_line_and_the_rest_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let text = "kind: Component\nmetadata:\n  name: a\n---\nkind: Component\nmetadata:\n  title: x\n\
                    ---\nkind: Component\nmetadata: [\n---\nkind: Component\nmetadata:\n  name: a b\n\
                    ---\nkind: Component\nmetadata:\n  name: b\n---\nkind: Component\nmetadata: {name: a}\n";
        let first = write(folder.path(), "a/one.yaml", text);
        write(folder.path(), "a/two.yml", "kind: Component\nmetadata: {name: c}\n");
        write(folder.path(), "a/notes.txt", "not YAML: [");
        let (definitions, problems) = read(folder.path());
        let refs: Vec<_> = definitions.iter().map(|it| it.entity.to_string()).collect();
        assert_eq!(refs, ["component:default/a", "component:default/b", "component:default/c"]);
        let lines: Vec<_> = problems.iter().map(|it| (it.path.clone(), it.line.unwrap())).collect();
        assert_eq!(lines.len(), 4, "{problems:?}");
        assert!(lines.iter().all(|(path, _)| *path == first));
        let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(said[0].contains("missing field `name`"), "{}", said[0]);
        assert!((4..=7).contains(&lines[0].1), "{}", said[0]);
        assert!((9..=11).contains(&lines[1].1), "{}", said[1]);
        assert!(said[2].contains("is not an entity reference"), "{}", said[2]);
        assert!(said[3].contains("is defined in"), "{}", said[3]);
    }

    #[cfg(unix)]
    #[test]
    fn a_mounted_config_map_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "..2026_11_27/catalog-info.yaml", CATALOG);
        for (target, link) in
            [("..2026_11_27", "..data"), ("..data/catalog-info.yaml", "catalog-info.yaml")]
        {
            std::os::unix::fs::symlink(target, folder.path().join(link)).unwrap();
        }
        let (definitions, problems) = read(folder.path());
        assert_eq!((definitions.len(), problems), (3, Vec::new()));
    }

    #[test]
    fn a_file_that_is_not_there_is_a_problem() {
        let (definitions, problems) = read(Path::new("/nowhere/catalog-info.yaml"));
        assert_eq!((definitions.len(), problems.len()), (0, 1));
    }
}
