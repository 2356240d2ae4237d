//! The view against scripted steps of a watch.

use vitals_proto::v1::{EntityRemoved, Progress, Resumed, SnapshotBegin};

use super::*;

fn entity(name: &str, digest: u64) -> Entity {
    Entity { r#ref: format!("component:default/{name}"), digest, ..Entity::default() }
}

fn apply(view: &mut View, event: Event) -> Applied {
    view.apply(WatchEntitiesResponse { event: Some(event) })
}

fn snapshot(reason: &str) -> Event {
    Event::Snapshot(SnapshotBegin { reason: reason.to_owned() })
}

fn synced(count: u64, digest: u64) -> Event {
    Event::Synced(Synced { token: Bytes::from_static(b"t"), count, digest })
}

/// A view of `a` and `b`, whole.
fn whole() -> View {
    let mut view = View::default();
    for event in [
        snapshot(""),
        Event::Upsert(entity("a", u64::MAX)),
        Event::Upsert(entity("b", 3)),
        synced(2, 2),
    ] {
        apply(&mut view, event);
    }
    assert!(view.is_whole());
    view
}

#[test]
fn a_snapshot_is_in_sight_only_when_it_is_whole() {
    let mut view = View::default();
    assert_eq!(apply(&mut view, snapshot("")), Applied::SnapshotBegun(String::new()));
    apply(&mut view, Event::Upsert(entity("a", 1)));
    assert_eq!((view.entities().len(), view.incoming(), view.is_whole()), (0, Some(1), false));
    assert_eq!(apply(&mut view, synced(1, 1)), Applied::Synced { vanished: vec![] });
    assert_eq!((view.entities().len(), view.incoming(), view.is_whole()), (1, None, true));
}

#[test]
fn a_second_snapshot_says_what_vanished() {
    let mut view = whole();
    apply(&mut view, snapshot("token too old"));
    let changed = apply(&mut view, Event::Upsert(entity("b", 4)));
    let (before, after) = (Some(Box::new(entity("b", 3))), Box::new(entity("b", 4)));
    assert_eq!(changed, Applied::Changed { before, after });
    assert_eq!(view.entities().len(), 2, "the old view stays in sight");
    let vanished = vec![entity("a", u64::MAX)];
    assert_eq!(apply(&mut view, synced(1, 4)), Applied::Synced { vanished });
}

#[test]
fn deltas_after_a_resume_change_what_is_in_sight() {
    let mut view = whole();
    apply(&mut view, snapshot("cut in the middle"));
    assert_eq!(apply(&mut view, Event::Resumed(Resumed {})), Applied::Resumed);
    assert_eq!(view.incoming(), None, "a snapshot that was cut is void");
    let removed = EntityRemoved { r#ref: "component:default/a".to_owned(), revision: None };
    let removed = apply(&mut view, Event::Removed(removed));
    assert_eq!(removed, Applied::Removed(Some(Box::new(entity("a", u64::MAX)))));
    assert_eq!(apply(&mut view, synced(1, 3)), Applied::Synced { vanished: vec![] });
}

#[test]
fn a_view_that_is_not_what_the_hub_says_is_told_of() {
    let difference = Difference { count: (2, 2), digest: (2, 7) };
    assert_eq!(apply(&mut whole(), synced(2, 7)), Applied::Differs(difference));
    let difference = Difference { count: (2, 3), digest: (2, 2) };
    assert_eq!(apply(&mut whole(), synced(3, 2)), Applied::Differs(difference));
}

#[test]
fn steps_of_newer_hubs_are_let_pass() {
    assert_eq!(whole().apply(WatchEntitiesResponse { event: None }), Applied::Unknown);
    let progress = Progress { token: Bytes::new(), as_of: None };
    assert_eq!(apply(&mut whole(), Event::Progress(progress)), Applied::Progress(None));
}
