//! Figures of connections to NATS: `vitals_nats_…`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Figures of one connection.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) connected: Gauge,
    pub(super) connects: Counter,
    pub(super) slow_consumer_messages: Counter,
    pub(super) server_errors: Counter,
    pub(super) client_errors: Counter,
    pub(super) lame_duck: Counter,
}

impl Metrics {
    /// Messages that the client dropped because a subscription did not keep up.
    pub fn slow_consumer_messages(&self) -> u64 {
        self.slow_consumer_messages.get()
    }
}

/// Names and values that tell a connection from the others of its process.
type Labels = Vec<(&'static str, String)>;

/// The figures of all connections of a process. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Mutex<Vec<(Labels, Metrics)>>>);

/// Name, help, and which figure it is.
type Family = (&'static str, &'static str, fn(&Metrics) -> &dyn EncodeMetric);

const FAMILIES: [Family; 6] = [
    ("connected", "1 while connected to NATS, else 0.", |it| &it.connected),
    ("connects", "Times that a connection to NATS was made.", |it| &it.connects),
    (
        "slow_consumer_messages",
        "Messages dropped by the client because a subscription did not keep up.",
        |it| &it.slow_consumer_messages,
    ),
    ("server_errors", "Errors reported by the server, such as permission violations.", |it| {
        &it.server_errors
    }),
    ("client_errors", "Failed attempts to connect.", |it| &it.client_errors),
    ("lame_duck", "Times that the server announced its end.", |it| &it.lame_duck),
];

impl Connections {
    /// Shows all of them, also those that are added later; once in a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    /// Shows one more.
    pub fn add(&self, labels: Labels, metrics: &Metrics) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((labels, metrics.clone()));
    }
}

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, any)) = all.first() else { return Ok(()) };
        for (name, help, figure) in FAMILIES {
            let (name, of) = (format!("vitals_nats_{name}"), figure(any).metric_type());
            let mut family = encoder.encode_descriptor(&name, help, None, of)?;
            if let [(labels, only)] = all.as_slice()
                && labels.is_empty()
            {
                figure(only).encode(family)?;
                continue;
            }
            for (labels, metrics) in &*all {
                figure(metrics).encode(family.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_each_family() {
        let (mut registry, connections) = (Registry::default(), Connections::default());
        connections.register(&mut registry);
        for cluster in ["east", "west"] {
            let metrics = Metrics::default();
            metrics.connects.inc();
            connections.add(vec![("cluster", cluster.to_owned())], &metrics);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert_eq!(text.matches("# TYPE").count(), FAMILIES.len(), "{text}");
        for line in [
            "# TYPE vitals_nats_connected gauge",
            "vitals_nats_connected{cluster=\"west\"} 0",
            "# HELP vitals_nats_connects Times that a connection to NATS was made.",
            "vitals_nats_connects_total{cluster=\"east\"} 1",
            "vitals_nats_connects_total{cluster=\"west\"} 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn one_alone_needs_no_labels() {
        let (mut registry, connections) = (Registry::default(), Connections::default());
        connections.register(&mut registry);
        connections.add(Vec::new(), &Metrics::default());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.lines().any(|it| it == "vitals_nats_connects_total 0"), "{text}");
    }
}
