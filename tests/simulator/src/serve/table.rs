//! The columns of `kubectl get`, which the server makes. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::resource::{
    BUDGETS, CLAIMS, CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, EVENTS, INGRESSES, JOBS, NAMESPACES,
    NODES, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, Resource, SCALERS, SERVICES, SLICES,
    STATEFUL_SETS, STORAGE_CLASSES, VOLUMES,
};
use crate::value::{at, flag, is_true, items, number, text, texts, time};

/// A column and what stands in it.
struct Cell {
    name: &'static str,
    /// Above 0, it is shown with `-o wide` alone.
    priority: u8,
    value: Value,
}

fn cell(name: &'static str, value: impl Into<Value>) -> Cell {
    Cell { name, priority: 0, value: value.into() }
}

fn wide(name: &'static str, value: impl Into<Value>) -> Cell {
    Cell { name, priority: 1, value: value.into() }
}

/// The columns of a resource.
pub(crate) fn columns(resource: &Resource) -> Vec<Value> {
    let cells = cells(resource, &Value::Null, Timestamp::UNIX_EPOCH);
    let column = |cell: Cell| {
        let format = if cell.name == "Name" { "name" } else { "" };
        let r#type = if cell.value.is_number() { "integer" } else { "string" };
        json!({
            "name": cell.name, "type": r#type, "format": format, "description": cell.name,
            "priority": cell.priority,
        })
    };
    cells.into_iter().map(column).collect()
}

/// The row of an object.
pub(crate) fn row(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Value> {
    cells(resource, object, now).into_iter().map(|cell| cell.value).collect()
}

fn cells(resource: &Resource, object: &Value, now: Timestamp) -> Vec<Cell> {
    if resource.id == EVENTS {
        return event(object, now);
    }
    let mut cells = vec![cell("Name", text(object, "/metadata/name"))];
    let age = cell("Age", age(object, "/metadata/creationTimestamp", now));
    match resource.id {
        PODS => cells.extend(pod(object, now)),
        DEPLOYMENTS => cells.extend(deployment(object)),
        REPLICA_SETS | REPLICATION_CONTROLLERS => {
            let count = |field: &str| number(object, field).unwrap_or_default();
            cells.push(cell("Desired", count("/spec/replicas")));
            cells.push(cell("Current", count("/status/replicas")));
            cells.push(cell("Ready", count("/status/readyReplicas")));
        }
        STATEFUL_SETS => {
            cells.push(cell("Ready", of(object, "/status/readyReplicas", "/spec/replicas")))
        }
        DAEMON_SETS => cells.extend(daemon_set(object)),
        JOBS => cells.extend(job(object, now)),
        CRON_JOBS => cells.extend(cron_job(object, now)),
        SERVICES => cells.extend(service(object)),
        NODES => cells.extend(node(object)),
        NAMESPACES => cells.push(cell("Status", text(object, "/status/phase"))),
        CLAIMS => cells.extend(claim(object)),
        VOLUMES => cells.extend(volume(object)),
        SCALERS => cells.extend(scaler(object)),
        BUDGETS => cells.extend(budget(object)),
        INGRESSES => cells.extend(ingress(object)),
        SLICES => cells.extend(slice(object)),
        STORAGE_CLASSES => {
            cells.push(cell("Provisioner", text(object, "/provisioner")));
            cells.push(cell("ReclaimPolicy", text(object, "/reclaimPolicy")));
        }
        _ => {}
    }
    let names = |pick: &str| {
        let containers = items(object, "/spec/template/spec/containers").iter();
        containers.map(|it| text(it, pick)).collect::<Vec<_>>().join(",")
    };
    let has_template =
        [DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS, JOBS].contains(&resource.id);
    // Wide columns of pods stand behind the age.
    let place = cells.iter().position(|it| it.priority > 0).unwrap_or(cells.len());
    cells.insert(place, age);
    if has_template {
        cells.push(wide("Containers", names("/name")));
        cells.push(wide("Images", names("/image")));
        cells.push(wide("Selector", pairs(object, "/spec/selector/matchLabels")));
    }
    cells
}

fn pod(pod: &Value, now: Timestamp) -> Vec<Cell> {
    let containers = items(pod, "/status/containerStatuses");
    let ready = containers.iter().filter(|it| flag(it, "/ready")).count();
    let restarts: i64 = containers.iter().filter_map(|it| number(it, "/restartCount")).sum();
    let last =
        containers.iter().filter_map(|it| time(it, "/lastState/terminated/finishedAt")).max();
    let restarts = match last {
        Some(last) if restarts > 0 => format!("{restarts} ({} ago)", human(last, now)),
        _ => restarts.to_string(),
    };
    let or_none = |text: &str| if text.is_empty() { "<none>".to_owned() } else { text.to_owned() };
    vec![
        cell("Ready", format!("{ready}/{}", items(pod, "/spec/containers").len())),
        cell("Status", pod_status(pod)),
        cell("Restarts", restarts),
        wide("IP", or_none(text(pod, "/status/podIP"))),
        wide("Node", or_none(text(pod, "/spec/nodeName"))),
    ]
}

fn pod_status(pod: &Value) -> String {
    if !at(pod, "/metadata/deletionTimestamp").is_null() {
        return "Terminating".to_owned();
    }
    let containers = items(pod, "/status/containerStatuses").iter();
    let mut reasons = containers.filter_map(|container| {
        let waiting = text(container, "/state/waiting/reason");
        let ended = text(container, "/state/terminated/reason");
        Some(if waiting.is_empty() { ended } else { waiting }).filter(|it| !it.is_empty())
    });
    reasons.next().unwrap_or_else(|| text(pod, "/status/phase")).to_owned()
}

fn deployment(deployment: &Value) -> Vec<Cell> {
    let count = |field: &str| number(deployment, field).unwrap_or_default();
    vec![
        cell("Ready", of(deployment, "/status/readyReplicas", "/spec/replicas")),
        cell("Up-to-date", count("/status/updatedReplicas")),
        cell("Available", count("/status/availableReplicas")),
    ]
}

fn daemon_set(daemon_set: &Value) -> Vec<Cell> {
    let count = |field: &str| number(daemon_set, &format!("/status/{field}")).unwrap_or_default();
    vec![
        cell("Desired", count("desiredNumberScheduled")),
        cell("Current", count("currentNumberScheduled")),
        cell("Ready", count("numberReady")),
        cell("Up-to-date", count("updatedNumberScheduled")),
        cell("Available", count("numberAvailable")),
        cell("Node Selector", pairs(daemon_set, "/spec/template/spec/nodeSelector")),
    ]
}

fn job(job: &Value, now: Timestamp) -> Vec<Cell> {
    let status = if is_true(job, "Complete") {
        "Complete"
    } else if is_true(job, "Failed") {
        "Failed"
    } else if is_true(job, "Suspended") {
        "Suspended"
    } else {
        "Running"
    };
    let duration = time(job, "/status/startTime")
        .map(|start| human(start, time(job, "/status/completionTime").unwrap_or(now)));
    vec![
        cell("Status", status),
        cell("Completions", of(job, "/status/succeeded", "/spec/completions")),
        cell("Duration", duration.unwrap_or_default()),
    ]
}

fn cron_job(cron_job: &Value, now: Timestamp) -> Vec<Cell> {
    let last = time(cron_job, "/status/lastScheduleTime");
    vec![
        cell("Schedule", text(cron_job, "/spec/schedule")),
        cell("Timezone", "<none>"),
        cell("Suspend", if flag(cron_job, "/spec/suspend") { "True" } else { "False" }),
        cell("Active", items(cron_job, "/status/active").len()),
        cell("Last Schedule", last.map_or_else(|| "<none>".to_owned(), |it| human(it, now))),
    ]
}

fn service(service: &Value) -> Vec<Cell> {
    let external: Vec<&str> =
        items(service, "/status/loadBalancer/ingress").iter().map(|it| text(it, "/ip")).collect();
    let external = match text(service, "/spec/type") {
        "LoadBalancer" if external.is_empty() => "<pending>".to_owned(),
        _ if external.is_empty() => "<none>".to_owned(),
        _ => external.join(","),
    };
    let ports = items(service, "/spec/ports").iter();
    let ports = ports
        .map(|it| format!("{}/{}", number(it, "/port").unwrap_or_default(), text(it, "/protocol")));
    vec![
        cell("Type", text(service, "/spec/type")),
        cell("Cluster-IP", text(service, "/spec/clusterIP")),
        cell("External-IP", external),
        cell("Port(s)", ports.collect::<Vec<_>>().join(",")),
    ]
}

fn node(node: &Value) -> Vec<Cell> {
    let ready = if is_true(node, "Ready") { "Ready" } else { "NotReady" };
    let cordoned = if flag(node, "/spec/unschedulable") { ",SchedulingDisabled" } else { "" };
    vec![
        cell("Status", format!("{ready}{cordoned}")),
        cell("Roles", "<none>"),
        cell("Version", text(node, "/status/nodeInfo/kubeletVersion")),
    ]
}

fn claim(claim: &Value) -> Vec<Cell> {
    vec![
        cell("Status", text(claim, "/status/phase")),
        cell("Volume", text(claim, "/spec/volumeName")),
        cell("Capacity", text(claim, "/status/capacity/storage")),
        cell("Access Modes", modes(claim)),
        cell("StorageClass", text(claim, "/spec/storageClassName")),
    ]
}

fn volume(volume: &Value) -> Vec<Cell> {
    let of = at(volume, "/spec/claimRef");
    let claim = match of.is_null() {
        true => String::new(),
        false => format!("{}/{}", text(of, "/namespace"), text(of, "/name")),
    };
    vec![
        cell("Capacity", text(volume, "/spec/capacity/storage")),
        cell("Access Modes", modes(volume)),
        cell("Reclaim Policy", text(volume, "/spec/persistentVolumeReclaimPolicy")),
        cell("Status", text(volume, "/status/phase")),
        cell("Claim", claim),
        cell("StorageClass", text(volume, "/spec/storageClassName")),
    ]
}

fn modes(object: &Value) -> String {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        Some(_) | None => "?",
    };
    items(object, "/spec/accessModes").iter().map(short).collect::<Vec<_>>().join(",")
}

fn scaler(scaler: &Value) -> Vec<Cell> {
    let target = at(scaler, "/spec/scaleTargetRef");
    vec![
        cell("Reference", format!("{}/{}", text(target, "/kind"), text(target, "/name"))),
        cell("MinPods", number(scaler, "/spec/minReplicas").unwrap_or_default()),
        cell("MaxPods", number(scaler, "/spec/maxReplicas").unwrap_or_default()),
        cell("Replicas", number(scaler, "/status/currentReplicas").unwrap_or_default()),
    ]
}

fn budget(budget: &Value) -> Vec<Cell> {
    let or_none = |value: &Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_null() => "N/A".to_owned(),
        None => value.to_string(),
    };
    vec![
        cell("Min Available", or_none(at(budget, "/spec/minAvailable"))),
        cell("Max Unavailable", or_none(at(budget, "/spec/maxUnavailable"))),
        cell(
            "Allowed Disruptions",
            number(budget, "/status/disruptionsAllowed").unwrap_or_default(),
        ),
    ]
}

fn ingress(ingress: &Value) -> Vec<Cell> {
    let hosts: Vec<&str> =
        items(ingress, "/spec/rules").iter().map(|it| text(it, "/host")).collect();
    let addresses: Vec<&str> =
        items(ingress, "/status/loadBalancer/ingress").iter().map(|it| text(it, "/ip")).collect();
    let class = Some(text(ingress, "/spec/ingressClassName")).filter(|it| !it.is_empty());
    vec![
        cell("Class", class.unwrap_or("<none>")),
        cell("Hosts", if hosts.is_empty() { "*".to_owned() } else { hosts.join(",") }),
        cell("Address", addresses.join(",")),
        cell("Ports", "80"),
    ]
}

fn slice(slice: &Value) -> Vec<Cell> {
    let ports = items(slice, "/ports").iter().filter_map(|it| number(it, "/port"));
    let addresses = items(slice, "/endpoints").iter().map(|it| text(it, "/addresses/0"));
    vec![
        cell("AddressType", text(slice, "/addressType")),
        cell("Ports", ports.map(|it| it.to_string()).collect::<Vec<_>>().join(",")),
        cell("Endpoints", addresses.take(3).collect::<Vec<_>>().join(",")),
    ]
}

fn event(event: &Value, now: Timestamp) -> Vec<Cell> {
    let of = at(event, "/involvedObject");
    vec![
        cell("Last Seen", age(event, "/lastTimestamp", now)),
        cell("Type", text(event, "/type")),
        cell("Reason", text(event, "/reason")),
        cell("Object", format!("{}/{}", text(of, "/kind").to_lowercase(), text(of, "/name"))),
        cell("Message", text(event, "/message")),
    ]
}

fn of(object: &Value, some: &str, all: &str) -> String {
    format!(
        "{}/{}",
        number(object, some).unwrap_or_default(),
        number(object, all).unwrap_or_default()
    )
}

fn pairs(object: &Value, pointer: &str) -> String {
    let pairs: Vec<_> =
        texts(object, pointer).map(|(key, value)| format!("{key}={value}")).collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

fn age(object: &Value, pointer: &str, now: Timestamp) -> String {
    time(object, pointer).map_or_else(|| "<unknown>".to_owned(), |it| human(it, now))
}

/// A span of time as kubectl shows it: with two units at most.
fn human(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.as_second().saturating_sub(from.as_second()).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |first: i64, unit: &str, second: i64, small: &str| {
        if second == 0 { format!("{first}{unit}") } else { format!("{first}{unit}{second}{small}") }
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Registry;

    #[test]
    fn ages_are_shown_as_kubectl_does() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        for (seconds, want) in [
            (5, "5s"),
            (119, "119s"),
            (125, "2m5s"),
            (660, "11m"),
            (11_100, "3h5m"),
            (90_000, "25h"),
            (180_000, "2d2h"),
        ] {
            assert_eq!(human(at(0), at(seconds)), want);
        }
    }

    #[test]
    fn every_resource_has_as_many_cells_as_columns() {
        let object = json!({ "metadata": { "name": "x" }, "status": { "conditions": [] } });
        for resource in Registry::default().all() {
            let row = row(resource, &object, Timestamp::UNIX_EPOCH);
            assert_eq!(row.len(), columns(resource).len(), "{}", resource.plural);
        }
    }
}
