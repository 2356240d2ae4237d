//! The view against a model: whoever reads it, however slowly, ends with the same as a fresh snapshot.

use proptest::prelude::*;
use proptest::sample::select;
use vitals_hub_core::StreamPoint;
use vitals_proto::v1::watch_entities_response::Event;

use super::filter::Filter;
use super::*;

const STREAM: &str = "VITALS_OBJECTS";
const ENTITIES: usize = 6;

/// What a client holds: of each entity the sequence of its revision, and its digest.
type Held = BTreeMap<String, (u64, u64)>;

fn at(sequence: u64) -> Position {
    Position::at(&StreamPoint { stream: STREAM.into(), incarnation_unix_ns: 1, sequence })
}

fn moment(sequence: u64, as_of_s: i64) -> Moment {
    Moment { position: at(sequence), as_of: Time::from_unix_s(as_of_s) }
}

fn reference(index: usize) -> EntityRef {
    format!("component:default/e{index}").parse().unwrap()
}

/// An entity that says what it should be judged by; its digest follows from that alone.
fn entity(index: usize, owner: usize, status: i32, sequence: u64) -> v1::Entity {
    v1::Entity {
        r#ref: reference(index).to_string(),
        owner: format!("group:default/o{owner}"),
        verdict: Some(v1::Verdict { status, ..Default::default() }),
        revision: Some(at(sequence).to_wire()),
        digest: xxhash_rust::xxh3::xxh3_64(format!("{index} {owner} {status}").as_bytes()),
        ..Default::default()
    }
}

fn sequence_of(revision: Option<&v1::Position>) -> u64 {
    revision.map_or(0, |revision| revision.streams[0].sequence)
}

fn decode(frame: &bytes::Bytes) -> Event {
    use prost::Message as _;
    v1::WatchEntitiesResponse::decode(&frame[5..]).unwrap().event.unwrap()
}

/// Takes a frame as a client does. No entity goes back.
fn hold(held: &mut Held, frame: &bytes::Bytes) -> Result<u64, TestCaseError> {
    match decode(frame) {
        Event::Upsert(entity) => {
            let sequence = sequence_of(entity.revision.as_ref());
            let before = held.insert(entity.r#ref, (sequence, entity.digest));
            prop_assert!(before.is_none_or(|(before, _)| before <= sequence), "went back");
            Ok(sequence)
        }
        Event::Removed(removed) => {
            held.remove(&removed.r#ref);
            Ok(sequence_of(removed.revision.as_ref()))
        }
        other => panic!("not an entity: {other:?}"),
    }
}

fn totals(held: &Held) -> Totals {
    let digest = held.values().fold(0, |sum: u64, (_, digest)| sum.wrapping_add(*digest));
    Totals { count: held.len() as u64, digest }
}

fn snapshot(view: &View, filter: &Filter) -> Result<(Held, Cursor, Moment), TestCaseError> {
    let Selection { cursor, moment, records, totals: said } = view.select_all(filter);
    let mut held = Held::new();
    for record in records {
        hold(&mut held, &record.frame(filter))?;
    }
    prop_assert_eq!(totals(&held), said);
    Ok((held, cursor, moment))
}

#[derive(Clone, Debug)]
enum Step {
    /// The core says this of some entities: owner (2 for merely touched) and status, or gone.
    Publish(Vec<(usize, Option<(usize, i32)>)>),
    /// So many seconds pass, by the broker's clock.
    Pass(i64),
    /// The reader takes once what there is.
    Read,
    /// A client notes its token and its view, to resume from later.
    Note,
    /// It resumes.
    Resume,
}

fn step() -> impl Strategy<Value = Step> {
    let state = proptest::option::weighted(0.8, (0..3_usize, select(vec![1, 3, 6])));
    let change = (0..ENTITIES, state);
    prop_oneof![
        6 => proptest::collection::vec(change, 1..5).prop_map(Step::Publish),
        1 => select(vec![1_i64, 60, 4_000]).prop_map(Step::Pass),
        3 => Just(Step::Read),
        1 => Just(Step::Note),
        1 => Just(Step::Resume),
    ]
}

fn filters() -> impl Strategy<Value = Filter> {
    let filter = |refs: &[&str], owners: &[&str], statuses: &[i32]| {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let statuses = statuses.to_vec();
        let (refs, owners) = (texts(refs), texts(owners));
        Filter::parse(v1::EntityFilter { refs, owners, statuses, ..Default::default() }).unwrap()
    };
    select(vec![
        Filter::all(),
        filter(&[], &["o0"], &[]),
        filter(&[], &[], &[6]),
        filter(&["e0", "e1", "e2"], &["o1"], &[]),
    ])
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (1..6_usize, 1..4_usize, 1..4_usize, 1..8_usize).prop_map(
        |(journal, frames, looked_at, gone)| Bounds {
            journal_deltas: journal,
            frames,
            looked_at,
            gone,
            ..Bounds::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whoever_reads_however_slowly_ends_with_a_fresh_snapshot(
        steps in proptest::collection::vec(step(), 1..60),
        filter in filters(),
        bounds in bounds(),
    ) {
        let view = View::new(bounds);
        let (mut sequence, mut as_of_s) = (1, 10_000);
        view.publish(Vec::new(), moment(sequence, as_of_s));
        let (mut held, mut cursor, _) = snapshot(&view, &filter)?;
        let mut noted: Option<(Held, Moment)> = None;
        let read = |held: &mut Held, cursor: &mut Cursor| match view.advance(cursor, &filter) {
            Advance::Frames(taken) => {
                for frame in &taken.frames {
                    hold(held, frame)?;
                }
                Ok::<_, TestCaseError>(false)
            }
            Advance::CaughtUp(_) => Ok(true),
            Advance::Lost => {
                let (fresh, begins, _) = snapshot(&view, &filter)?;
                (*held, *cursor) = (fresh, begins);
                Ok(false)
            }
        };
        for step in steps {
            match step {
                Step::Publish(changes) => {
                    sequence += 1;
                    as_of_s += 1;
                    let change = |(index, state): (usize, Option<(usize, i32)>)| Change {
                        entity: reference(index),
                        touched: at(sequence),
                        outcome: state.map_or(Outcome::Removed, |(owner, status)| match owner {
                            2 => Outcome::Touched,
                            _ => Outcome::Changed(Arc::new(entity(index, owner, status, sequence))),
                        }),
                    };
                    view.publish(changes.into_iter().map(change).collect(), moment(sequence, as_of_s));
                }
                Step::Pass(seconds) => {
                    as_of_s += seconds;
                    view.publish(Vec::new(), moment(sequence, as_of_s));
                }
                Step::Read => { read(&mut held, &mut cursor)?; }
                Step::Note => {
                    let (held, _, moment) = snapshot(&view, &filter)?;
                    noted = Some((held, moment));
                }
                Step::Resume => {
                    let Some((held, since)) = &mut noted else { continue };
                    let Ok(selection) = view.select_since(&filter, since) else {
                        noted = None;
                        continue;
                    };
                    for record in selection.records {
                        prop_assert!(record.touched.is_touched_since(&since.position), "sent something untouched");
                        hold(held, &record.frame(&filter))?;
                    }
                    prop_assert_eq!(totals(held), selection.totals, "resumed");
                    *since = selection.moment;
                }
            }
        }
        while !read(&mut held, &mut cursor)? {}
        let (fresh, _, _) = snapshot(&view, &filter)?;
        let digests = |held: &Held| held.iter().map(|(name, (_, digest))| (name.clone(), *digest)).collect::<Vec<_>>();
        prop_assert_eq!(digests(&held), digests(&fresh));
        prop_assert_eq!(snapshot(&view, &Filter::all()).map(|(held, ..)| totals(&held))?, view.totals());
    }
}

/// What a reader that keeps up with everything hears.
fn events(view: &View, cursor: &mut Cursor, filter: &Filter) -> Vec<String> {
    let mut said = Vec::new();
    while let Advance::Frames(taken) = view.advance(cursor, filter) {
        for frame in taken.frames {
            said.push(match decode(&frame) {
                Event::Upsert(entity) => {
                    format!("{} {}", entity.r#ref, entity.verdict.unwrap().status)
                }
                Event::Removed(removed) => format!("{} removed", removed.r#ref),
                other => panic!("{other:?}"),
            });
        }
    }
    said
}

fn change(index: usize, status: i32, sequence: u64) -> Change {
    let outcome = Outcome::Changed(Arc::new(entity(index, 0, status, sequence)));
    Change { entity: reference(index), touched: at(sequence), outcome }
}

#[test]
fn a_reader_that_keeps_up_hears_every_change_in_order_and_one_that_does_not_the_latest() {
    let view = View::new(Bounds { journal_deltas: 4, ..Bounds::default() });
    let all = Filter::all();
    let (mut quick, mut slow) = (view.select_all(&all).cursor, view.select_all(&all).cursor);
    let mut heard = Vec::new();
    for (sequence, (index, status)) in (1..).zip([(0, 1), (1, 1), (0, 6), (1, 6), (0, 3), (0, 1)]) {
        view.publish(vec![change(index, status, sequence)], moment(sequence, 0));
        heard.extend(events(&view, &mut quick, &all));
    }
    let shop = |texts: &[&str]| {
        texts.iter().map(|it| format!("component:default/{it}")).collect::<Vec<_>>()
    };
    assert_eq!(heard, shop(&["e0 1", "e1 1", "e0 6", "e1 6", "e0 3", "e0 1"]));
    assert_eq!(events(&view, &mut slow, &all), shop(&["e1 6", "e0 1"]));
}

#[test]
fn a_reader_hears_only_of_what_enters_changes_in_or_leaves_its_filter() {
    let view = View::default();
    let degraded = v1::EntityFilter { statuses: vec![6], ..Default::default() };
    let degraded = Filter::parse(degraded).unwrap();
    let mut cursor = view.select_all(&degraded).cursor;
    let mut heard = Vec::new();
    for (sequence, status) in (1..).zip([1, 3, 6, 3, 1, 6, 6]) {
        view.publish(vec![change(0, status, sequence)], moment(sequence, 0));
        heard.extend(events(&view, &mut cursor, &degraded));
    }
    let want = ["e0 6", "e0 removed", "e0 6"].map(|it| format!("component:default/{it}"));
    assert_eq!(heard, want, "and nothing where only the revision changed");
}

#[test]
fn one_encoding_serves_all_readers() {
    let view = View::default();
    let all = Filter::all();
    let mut cursors = [view.select_all(&all).cursor; 2];
    view.publish(vec![change(0, 1, 1)], moment(1, 0));
    let frames = cursors.each_mut().map(|cursor| match view.advance(cursor, &all) {
        Advance::Frames(taken) => taken.frames[0].as_ptr(),
        other => panic!("{other:?}"),
    });
    assert_eq!(frames[0], frames[1]);
}

#[test]
fn what_is_gone_is_said_to_who_resumes_until_it_is_forgotten() {
    let view = View::default();
    let all = Filter::all();
    let removed = |index, sequence| {
        let (entity, touched) = (reference(index), at(sequence));
        Change { entity, touched, outcome: Outcome::Removed }
    };
    view.publish(vec![change(0, 1, 1), change(1, 1, 1)], moment(1, 100));
    let token = view.moment();
    view.publish(vec![removed(0, 2), removed(5, 2)], moment(2, 101));
    let resumed = view.select_since(&all, &token).unwrap();
    let sent = resumed.records.iter().map(|record| record.entity.name().to_owned());
    assert_eq!(sent.collect::<Vec<_>>(), ["e0", "e1", "e5"], "also what was never held here");
    assert_eq!(resumed.totals.count, 1);
    let later = view.moment();
    view.publish(vec![], moment(3, 101 + 3_601));
    assert!(
        view.select_since(&all, &token).is_err(),
        "the token is from before what was forgotten"
    );
    assert!(view.select_since(&all, &later).is_err(), "so is one of the same time");
    assert!(view.select_since(&all, &view.moment()).is_ok());
    assert_eq!(view.totals().count, 1);
}
