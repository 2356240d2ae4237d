//! Label selectors (`metav1.LabelSelector`).

use serde::Deserialize;
use vitals_proto::v1;

use super::lenient::{List, Strings};

/// Slim label selector.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Selector {
    match_labels: Strings,
    match_expressions: List<Requirement>,
}

/// Slim requirement, of labels or of the fields of a node.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Requirement {
    key: Option<String>,
    operator: Option<String>,
    values: List<String>,
}

/// The facts of a selector; none of none, which selects nothing, unlike an empty one.
pub(super) fn facts(selector: Option<Selector>) -> Option<v1::LabelSelector> {
    let Selector { match_labels, match_expressions } = selector?;
    let match_expressions = requirements(match_expressions);
    Some(v1::LabelSelector { match_labels: match_labels.0, match_expressions })
}

/// The facts of requirements, in the order of the object.
pub(super) fn requirements(requirements: List<Requirement>) -> Vec<v1::LabelRequirement> {
    requirements.map(|requirement| v1::LabelRequirement {
        key: requirement.key.unwrap_or_default(),
        operator: requirement.operator.unwrap_or_default(),
        values: requirement.values.0,
    })
}
