//! APIServices: whether a group of the API answers (Argo CD `health_apiservice.go`).

use serde_json::Value;

use super::super::{Assessment, Reason};
use super::read;

pub(super) fn assess(object: &Value) -> Assessment {
    match read::condition(object, "Available") {
        Some(available) if available.status == "True" => Assessment::healthy("it is available"),
        Some(available) => {
            Assessment::progressing(Reason::ApiServiceUnavailable, available.words())
        }
        None => Assessment::progressing(
            Reason::ApiServiceUnavailable,
            "it has not been looked at by the API server yet",
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vitals_proto::v1::HealthStatus::{Healthy, Progressing};

    use super::*;

    #[test]
    fn rule() {
        let said = |status: &str| json!({ "status": { "conditions": [{ "type": "Available", "status": status, "reason": "MissingEndpoints" }] } });
        for (case, object, status, message) in [
            ("available", said("True"), Healthy, "it is available"),
            ("not", said("False"), Progressing, "Available is False: MissingEndpoints"),
            ("new", json!({}), Progressing, "it has not been looked at by the API server yet"),
        ] {
            let got = assess(&object);
            assert_eq!((got.status, &*got.message), (status, message), "{case}");
        }
    }
}
