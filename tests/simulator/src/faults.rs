//! Faults by command: which requests are answered wrongly, late or never, and how watches break.
//!
//! A fault stands until it is taken back or has struck as often as it was to. Deciding is pure; the server performs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads a list.
    List,
    /// Begins a watch, with or without a list before it.
    Watch,
    /// Changes something.
    Write,
    /// Reads a log.
    Log,
    /// Anything else: health, discovery.
    Other,
}

/// Which requests. What is not said matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// Resource and group: `pods`, `deployments.apps`.
    pub resource: Option<String>,
    /// What it does.
    pub verb: Option<Verb>,
    /// How its path begins.
    pub path: Option<String>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The answer is a refusal: 403, 410, 429, 500, 503, …
    Answer {
        /// HTTP status.
        code: u16,
        /// When to ask again.
        retry_after: Option<Duration>,
    },
    /// The answer comes late.
    Slow(Duration),
    /// The request is taken and never answered.
    Hang,
    /// A watch says that its version is too old (410, as an ERROR event) after so many events.
    Expire {
        /// How many are told before.
        after: usize,
    },
    /// The connection of a watch is cut after so many events, in the middle of the next.
    Cut {
        /// How many are told before.
        after: usize,
    },
    /// A watch goes silent after so many events; its connection stays.
    Stall {
        /// How many are told before.
        after: usize,
    },
    /// A watch that resumes tells so many events again that came before.
    Repeat {
        /// How many.
        events: u64,
    },
    /// A watch that resumes tells its events in pairs, the later first.
    Reorder,
    /// Versions of lists and bookmarks are off by this much.
    Lie {
        /// Added to the true version.
        by: i64,
    },
}

/// A fault that was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(u64);

#[derive(Clone, Debug)]
struct Rule {
    id: FaultId,
    matching: Matching,
    fault: Fault,
    /// How often it still strikes; always where it is none.
    left: Option<u32>,
    struck: u32,
}

/// What a request is, as faults see it.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) path: &'a str,
    pub(crate) resource: Option<&'a str>,
    pub(crate) verb: Verb,
}

/// The faults of a simulated cluster. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Rules>>);

#[derive(Debug, Default)]
struct Rules {
    rules: Vec<Rule>,
    next: u64,
}

/// Most faults at once; the oldest is forgotten.
const RULES_MAX: usize = 1_000;

impl Faults {
    /// Lets matching requests go wrong, so many times or until it is taken back.
    pub fn add(&self, matching: Matching, fault: Fault, times: Option<u32>) -> FaultId {
        let mut rules = self.lock();
        rules.next += 1;
        let id = FaultId(rules.next);
        if rules.rules.len() >= RULES_MAX {
            rules.rules.remove(0);
        }
        rules.rules.push(Rule { id, matching, fault, left: times, struck: 0 });
        id
    }

    /// Every request for a resource is forbidden.
    pub fn forbid(&self, resource: &str) -> FaultId {
        let matching = Matching { resource: Some(resource.to_owned()), ..Matching::default() };
        self.add(matching, Fault::Answer { code: 403, retry_after: None }, None)
    }

    /// Takes a fault back.
    pub fn remove(&self, id: FaultId) {
        self.lock().rules.retain(|it| it.id != id);
    }

    /// Takes all back.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// How often a fault has struck; 0 where it was taken back.
    #[must_use]
    pub fn struck(&self, id: FaultId) -> u32 {
        let rules = self.lock();
        rules.rules.iter().find(|it| it.id == id).map_or(0, |it| it.struck)
    }

    /// What happens to a request.
    pub(crate) fn decide(&self, asked: &Asked<'_>) -> Vec<Fault> {
        let mut rules = self.lock();
        let mut faults = Vec::new();
        for rule in rules.rules.iter_mut().filter(|it| matches(&it.matching, asked)) {
            if rule.left == Some(0) {
                continue;
            }
            rule.left = rule.left.map(|left| left.saturating_sub(1));
            rule.struck = rule.struck.saturating_add(1);
            faults.push(rule.fault.clone());
        }
        faults
    }

    /// What would happen to a request.
    pub(crate) fn look(&self, asked: &Asked<'_>) -> Vec<Fault> {
        let rules = self.lock();
        let due =
            rules.rules.iter().filter(|it| it.left != Some(0) && matches(&it.matching, asked));
        due.map(|it| it.fault.clone()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Rules> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn matches(matching: &Matching, asked: &Asked<'_>) -> bool {
    let Matching { resource, verb, path } = matching;
    resource.as_deref().is_none_or(|it| Some(it) == asked.resource)
        && verb.is_none_or(|it| it == asked.verb)
        && path.as_deref().is_none_or(|it| asked.path.starts_with(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_what_it_matches_as_often_as_it_was_to() {
        let faults = Faults::default();
        let matching = Matching { verb: Some(Verb::Watch), ..Matching::default() };
        let id = faults.add(matching, Fault::Hang, Some(1));
        let asked = |verb| Asked { path: "/api/v1/pods", resource: Some("pods"), verb };
        assert_eq!(faults.decide(&asked(Verb::List)), []);
        assert_eq!(faults.decide(&asked(Verb::Watch)), [Fault::Hang]);
        assert_eq!(faults.decide(&asked(Verb::Watch)), []);
        assert_eq!(faults.struck(id), 1);
        faults.forbid("pods");
        assert_eq!(faults.decide(&asked(Verb::Get)).len(), 1);
        faults.clear();
        assert_eq!(faults.decide(&asked(Verb::Get)), []);
    }
}
