//! What is set by environment variables. Tests have no command line of ours, so these are read here.

/// `VITALS_SKIP_CLUSTER_TESTS=1`: tests that need the control plane are counted as skipped, not run.
pub fn skip_cluster_tests() -> bool {
    is_set("VITALS_SKIP_CLUSTER_TESTS")
}

/// `VITALS_TESTBED_KEEP=1`: temporary folders (logs, stores, kubeconfigs) stay for a person to read.
pub fn keep_files() -> bool {
    is_set("VITALS_TESTBED_KEEP")
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0")
}
