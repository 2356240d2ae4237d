//! Which cluster a name means: the one whose `kube-system` has the UID that came with its messages.
//!
//! Behind the envelope. Two UIDs that are alive under one name are a conflict: the one that was here first is held, the others
//! are refused, and both are named. It ends when one has been silent for [`SILENCE_MAX`]. When that is the one that was here
//! first, the other takes the name, and all that was held goes: a cluster that was built anew under its old name is not
//! refused for ever.
//!
//! The time that counts is the broker's time of messages. A first snapshot cannot tell who was silent when: of all signs of life
//! of a cluster only the last are left in the stream, so that what another cluster left among its objects looks as if it had
//! come after a silence. Until everything was read once nobody takes a name: what each UID said is kept beside
//! ([`Identity::hear_at_first`]), and then decided by who spoke last ([`Identity::decide`]).

use std::collections::BTreeMap;

use vitals_proto::{identity::Uid, limits::SILENCE_MAX};

use super::epochs::Listening;
use crate::time::Time;

/// Most UIDs that are remembered beside the one that is held; the one that was silent for longest is forgotten.
const CHALLENGERS_MAX: usize = 8;

/// Who uses the name of a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    incumbent: Option<Alive>,
    challengers: BTreeMap<Uid, Time>,
}

#[derive(Clone, Debug)]
struct Alive {
    uid: Uid,
    heard_at: Time,
}

/// What a message of a UID means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is of the cluster that is held.
    Ours,
    /// Its cluster takes the name: what is held is of one that is gone.
    Takes,
    /// Its cluster does not have the name.
    Refused,
    /// It is not known yet whether its cluster has the name: what it says is kept beside what the other says.
    Beside,
}

impl Identity {
    /// UID of the cluster that is held.
    pub(crate) fn uid(&self) -> Option<&Uid> {
        self.incumbent.as_ref().map(|incumbent| &incumbent.uid)
    }

    /// Other UIDs that are alive at `now`, in order.
    pub(crate) fn conflicting(&self, now: Time) -> impl Iterator<Item = &Uid> {
        self.challengers
            .iter()
            .filter(move |(_, heard_at)| now.since(**heard_at) <= SILENCE_MAX)
            .map(|(uid, _)| uid)
    }

    /// A message of `uid` came. An empty UID says nothing: it comes while an agent never reached its API server.
    pub(crate) fn hear(&mut self, uid: Uid, at: Time, listening: Listening) -> Claim {
        if uid.is_empty() {
            return Claim::Ours;
        }
        let Some(incumbent) = &mut self.incumbent else {
            self.incumbent = Some(Alive { uid, heard_at: at });
            return Claim::Ours;
        };
        if incumbent.uid == uid {
            incumbent.heard_at = incumbent.heard_at.max(at);
            return Claim::Ours;
        }
        if listening.proves_silence(incumbent.heard_at, at) {
            self.challengers.remove(&uid);
            self.incumbent = Some(Alive { uid, heard_at: at });
            return Claim::Takes;
        }
        // A message that was published long before the incumbent's last one is left over from a cluster that is gone.
        if incumbent.heard_at.since(at) <= SILENCE_MAX {
            self.challenge(uid, at);
        }
        Claim::Refused
    }

    /// The same while the streams are read for the first time.
    pub(crate) fn hear_at_first(&mut self, uid: Uid, at: Time) -> Claim {
        match &mut self.incumbent {
            _ if uid.is_empty() => Claim::Ours,
            None => {
                self.incumbent = Some(Alive { uid, heard_at: at });
                Claim::Ours
            }
            Some(incumbent) if incumbent.uid == uid => {
                incumbent.heard_at = incumbent.heard_at.max(at);
                Claim::Ours
            }
            Some(_) => {
                let has_room = self.challengers.len() < CHALLENGERS_MAX;
                if !has_room && !self.challengers.contains_key(&uid) {
                    return Claim::Refused;
                }
                self.challenge(uid, at);
                Claim::Beside
            }
        }
    }

    /// Everything was read once. Gives the UID that takes the name, where the one that was read first was silent for longer
    /// than [`SILENCE_MAX`] when that one spoke last.
    pub(crate) fn decide(&mut self) -> Option<Uid> {
        let incumbent = self.incumbent.as_mut()?;
        let last = self.challengers.iter().max_by_key(|(_, heard_at)| **heard_at);
        let (uid, heard_at) = last.map(|(uid, heard_at)| (uid.clone(), *heard_at))?;
        if heard_at.since(incumbent.heard_at) <= SILENCE_MAX {
            return None;
        }
        self.challengers.remove(&uid);
        *incumbent = Alive { uid: uid.clone(), heard_at };
        Some(uid)
    }

    /// The broker's clock was set back: nothing was heard later than now.
    pub(crate) fn not_after(&mut self, now: Time) {
        let Self { incumbent, challengers } = self;
        let heard = incumbent.iter_mut().map(|incumbent| &mut incumbent.heard_at);
        for heard_at in heard.chain(challengers.values_mut()) {
            *heard_at = now.min(*heard_at);
        }
    }

    fn challenge(&mut self, uid: Uid, at: Time) {
        let heard_at = self.challengers.entry(uid).or_insert(at);
        *heard_at = at.max(*heard_at);
        if self.challengers.len() > CHALLENGERS_MAX {
            let quietest = self.challengers.iter().min_by_key(|(_, heard_at)| **heard_at);
            if let Some(uid) = quietest.map(|(uid, _)| uid.clone()) {
                self.challengers.remove(&uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(text: &str) -> Uid {
        Uid::from_text(text)
    }

    fn at(unix_s: i64) -> Time {
        Time::from_unix_s(unix_s)
    }

    fn conflicting(identity: &Identity, now: i64) -> Vec<String> {
        identity.conflicting(at(now)).map(ToString::to_string).collect()
    }

    #[test]
    fn two_that_are_alive_are_a_conflict_until_one_is_silent() {
        let mut identity = Identity::default();
        let hear = |identity: &mut Identity, name, unix_s| {
            identity.hear(uid(name), at(unix_s), Listening::Always)
        };
        assert_eq!(hear(&mut identity, "a", 100), Claim::Ours);
        assert_eq!(hear(&mut identity, "b", 110), Claim::Refused);
        assert_eq!(hear(&mut identity, "a", 115), Claim::Ours);
        assert_eq!(conflicting(&identity, 115), ["b"]);
        assert_eq!(hear(&mut identity, "", 116), Claim::Ours, "no UID, no claim");
        // The challenger falls silent.
        assert_eq!(conflicting(&identity, 130), ["b"]);
        assert_eq!(conflicting(&identity, 131), [""; 0]);
        // Or the one that was here first does.
        assert_eq!(hear(&mut identity, "b", 135), Claim::Refused);
        assert_eq!(hear(&mut identity, "b", 136), Claim::Takes);
        assert_eq!((identity.uid(), conflicting(&identity, 136)), (Some(&uid("b")), vec![]));
        assert_eq!(hear(&mut identity, "a", 137), Claim::Refused);
        assert_eq!(conflicting(&identity, 137), ["a"]);
    }

    #[test]
    fn what_a_cluster_that_is_gone_left_behind_is_no_conflict() {
        let mut identity = Identity::default();
        identity.hear(uid("new"), at(1_000), Listening::Always);
        assert_eq!(identity.hear(uid("old"), at(979), Listening::Always), Claim::Refused);
        assert_eq!(conflicting(&identity, 1_000), [""; 0]);
        assert_eq!(identity.hear(uid("old"), at(980), Listening::Always), Claim::Refused);
        assert_eq!(conflicting(&identity, 1_000), ["old"]);
    }

    #[test]
    fn what_is_read_at_first_is_decided_at_its_end_by_who_spoke_last() {
        for (case, said, want) in [
            ("the one alone", vec![("a", 100)], (None, "a")),
            ("built anew", vec![("a", 100), ("b", 200)], (Some("b"), "b")),
            ("left over between", vec![("a", 100), ("b", 200), ("a", 300)], (None, "a")),
            (
                "left over before and between",
                vec![("c", 50), ("a", 100), ("b", 200), ("a", 300)],
                (Some("a"), "a"),
            ),
            ("both alive", vec![("a", 300), ("b", 320)], (None, "a")),
        ] {
            let mut identity = Identity::default();
            for (name, unix_s) in said {
                let claim = identity.hear_at_first(uid(name), at(unix_s));
                let is_first = identity.uid() == Some(&uid(name));
                assert_eq!(claim, if is_first { Claim::Ours } else { Claim::Beside }, "{case}");
            }
            let taken = identity.decide();
            assert_eq!((taken, identity.uid()), (want.0.map(uid), Some(&uid(want.1))), "{case}");
        }
    }

    #[test]
    fn a_hub_that_did_not_listen_gives_no_name_away() {
        for (case, listening, want) in [
            ("cut", Listening::Not, Claim::Refused),
            ("just back", Listening::Since(at(150)), Claim::Refused),
            ("listening", Listening::Since(at(130)), Claim::Takes),
        ] {
            let mut identity = Identity::default();
            identity.hear(uid("a"), at(100), Listening::Always);
            assert_eq!(identity.hear(uid("b"), at(151), listening), want, "{case}");
        }
    }

    #[test]
    fn many_names_do_not_fill_the_memory() {
        let mut identity = Identity::default();
        identity.hear(uid("a"), at(100), Listening::Always);
        for challenger in 0..100 {
            identity.hear(uid(&format!("b{challenger}")), at(101), Listening::Always);
        }
        assert_eq!(identity.challengers.len(), CHALLENGERS_MAX);
        assert_eq!(identity.hear_at_first(uid("c"), at(101)), Claim::Refused);
    }
}
