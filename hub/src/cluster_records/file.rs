//! Labels of clusters from a file, as operators keep them beside their clusters.
//!
//! YAML (or JSON): a map from the slug of a cluster to its labels. What a file says is set at the start of a hub; what it does
//! not say stays, so that a restart does not undo `vitals clusters label` for other keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vitals_hub_core::cluster_record::{self, ClusterLabels};
use vitals_proto::identity::{self, ClusterName};

use super::LabelPatch;

/// Why a file cannot be used. Final until somebody changes it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read the labels of clusters in {path}")]
    Read {
        /// Of the file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no map of maps.
    #[error("{path} is no map from clusters to labels: {reason}")]
    Form {
        /// Of the file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// It names no cluster.
    #[error("cannot take the labels in {path}")]
    Name {
        /// Of the file.
        path: PathBuf,
        /// What is wrong.
        source: identity::Error,
    },
    /// A label is none.
    #[error("cannot take the labels of cluster {cluster} in {path}")]
    Labels {
        /// Of the file.
        path: PathBuf,
        /// Whose.
        cluster: ClusterName,
        /// What is wrong.
        source: cluster_record::Error,
    },
}

/// Reads a file.
pub fn read(path: &Path) -> Result<BTreeMap<ClusterName, LabelPatch>, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<BTreeMap<ClusterName, LabelPatch>, Error> {
    let path = path.to_owned();
    let options = serde_saphyr::options! { with_snippet: false };
    let read: BTreeMap<String, ClusterLabels> =
        match serde_saphyr::from_str_with_options(text, options) {
            Ok(read) => read,
            Err(error) => return Err(Error::Form { path, reason: error.to_string() }),
        };
    let mut patches = BTreeMap::new();
    for (name, set) in read {
        let cluster: ClusterName = match name.parse() {
            Ok(cluster) => cluster,
            Err(source) => return Err(Error::Name { path, source }),
        };
        if let Err(source) = cluster_record::check(&set) {
            return Err(Error::Labels { path, cluster, source });
        }
        patches.insert(cluster, LabelPatch { set, ..LabelPatch::default() });
    }
    Ok(patches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_a_whole_or_not_at_all() {
        let text = "eu-1:\n  environment: prod\n  title: Frankfurt, rack 7\nus-1: {}\n";
        let patches = parse(Path::new("labels.yaml"), text).unwrap();
        let names: Vec<_> = patches.keys().map(ClusterName::as_str).collect();
        assert_eq!(names, ["eu-1", "us-1"]);
        assert_eq!(patches.values().next().unwrap().set["title"], "Frankfurt, rack 7");
        for (text, want) in [
            ("EU: {}", "cannot take the labels in labels.yaml"),
            ("a: {'b c': d}", "cannot take the labels of cluster a in labels.yaml"),
            ("a: [b]", "labels.yaml is no map from clusters to labels"),
            ("a: {b: [c]}", "labels.yaml is no map from clusters to labels"),
        ] {
            let error = parse(Path::new("labels.yaml"), text).unwrap_err().to_string();
            assert!(error.starts_with(want), "{text}: {error}");
        }
    }
}
