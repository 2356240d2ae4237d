//! Since when the verdicts of an entity have their status and reason: all that is asked of an entity's last state when it is
//! judged anew, so that the state itself can stay encoded.

use vitals_proto::v1;

use super::VerdictChange;
use crate::time::Time;

/// See the module.
#[derive(Debug)]
pub(super) struct Since {
    whole: Option<Dated>,
    /// Of the verdicts of its clusters, ordered by name, as they are.
    clusters: Box<[(Box<str>, Dated)]>,
}

#[derive(Debug)]
struct Dated {
    status: i32,
    reason: Box<str>,
    since: Time,
}

impl Since {
    /// Dates each verdict: as before, or since now.
    pub(super) fn date(state: &mut v1::Entity, before: Option<&Self>, now: Time) -> Self {
        let whole = state.verdict.as_mut();
        let whole = whole.map(|it| Dated::date(it, before.and_then(|it| it.whole.as_ref()), now));
        let clusters = state.clusters.iter_mut().filter_map(|cluster| {
            let before = before.and_then(|before| before.cluster(&cluster.cluster));
            let dated = Dated::date(cluster.verdict.as_mut()?, before, now);
            Some((cluster.cluster.as_str().into(), dated))
        });
        Self { whole, clusters: clusters.collect() }
    }

    /// Whether the verdict over all clusters is another one.
    pub(super) fn change_from(&self, before: Option<&Self>) -> VerdictChange {
        fn of(since: &Since) -> Option<(i32, &str)> {
            since.whole.as_ref().map(|it| (it.status, &*it.reason))
        }
        if before.is_some_and(|before| of(before) == of(self)) {
            VerdictChange::Same
        } else {
            VerdictChange::Changed
        }
    }

    fn cluster(&self, name: &str) -> Option<&Dated> {
        let at = self.clusters.binary_search_by(|(held, _)| (**held).cmp(name)).ok()?;
        self.clusters.get(at).map(|(_, dated)| dated)
    }
}

impl Dated {
    fn date(verdict: &mut v1::Verdict, before: Option<&Self>, now: Time) -> Self {
        let same =
            before.filter(|it| (it.status, &*it.reason) == (verdict.status, &verdict.reason));
        let since = same.map_or(now, |it| it.since);
        verdict.since = Some(since.to_wire());
        Self { status: verdict.status, reason: verdict.reason.as_str().into(), since }
    }
}
