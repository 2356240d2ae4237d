//! What a watch says, in the words of the core.

use vitals_agent_core::input::{self, Deletion, History, Object, ObjectName};

use crate::{
    project::{Deleted, Projected, Unreadable},
    watch::{ResourceVersion, WatchItem, WatchState},
};

/// Encodes facts, and leaves behind what the core does not need.
pub(crate) fn to_core(item: WatchItem) -> input::WatchItem {
    match item {
        WatchItem::ListStarted { resource_version, rewound } => {
            let history = if rewound { History::Rewound } else { History::Goes };
            let resource_version = resource_version.to_string();
            input::WatchItem::ListStarted { resource_version, history }
        }
        WatchItem::Listed(projected) => input::WatchItem::Listed(object(*projected)),
        WatchItem::Applied(projected) => input::WatchItem::Applied(object(*projected)),
        WatchItem::Deleted(deleted) => input::WatchItem::Deleted(deletion(*deleted)),
        WatchItem::Unreadable(unreadable) => {
            let Unreadable { namespace, name, .. } = *unreadable;
            let name = namespace.zip(name);
            input::WatchItem::Unreadable(
                name.map(|(namespace, name)| ObjectName { namespace, name }),
            )
        }
        WatchItem::ListEnded { resource_version, unnamed } => {
            let resource_version = resource_version.to_string();
            input::WatchItem::ListEnded { resource_version, unnamed }
        }
        WatchItem::ListDiscarded => input::WatchItem::ListDiscarded,
        // What matters to the core of it is that the watch lives.
        WatchItem::EventLost(_) => input::WatchItem::Alive { resource_version: String::new() },
        WatchItem::Alive { resource_version } => {
            let version = resource_version.as_ref().map(ResourceVersion::to_string);
            input::WatchItem::Alive { resource_version: version.unwrap_or_default() }
        }
        WatchItem::State { state, detail } => input::WatchItem::State(match state {
            WatchState::Listing => input::WatchState::Listing(detail),
            WatchState::Live => input::WatchState::Live,
            WatchState::Forbidden => input::WatchState::Forbidden(detail),
            WatchState::Absent => input::WatchState::Absent(detail),
            WatchState::Stalled => input::WatchState::Stalled(detail),
        }),
    }
}

fn object(projected: Projected) -> Object {
    let Projected { namespace, name, uid: _, resource_version, facts } = projected;
    let facts = vitals_proto::facts::encode(facts).into();
    Object { name: ObjectName { namespace, name }, resource_version, facts }
}

fn deletion(deleted: Deleted) -> Deletion {
    let Deleted { namespace, name, uid, labels, resource_version } = deleted;
    Deletion { name: ObjectName { namespace, name }, resource_version, labels, uid }
}
