//! The definitions of entities as the loop knows them.
//!
//! What is read of them is put together until the core is next told: each time that it is told, it asks of every object anew
//! to whom it belongs, and Backstage's bridge writes its catalog in many pieces.

use std::collections::BTreeMap;

use vitals_proto::identity::EntityRef;
use vitals_proto::v1;

use crate::definitions::Definition;
use crate::kv_definitions::DefinitionsRead;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// All of them; `None` before they were read once.
    definitions: Option<BTreeMap<EntityRef, Definition>>,
    /// Their revision, where the core was not told yet.
    untold: Option<u64>,
}

impl Known {
    /// They were read once.
    pub(super) fn is_read(&self) -> bool {
        self.definitions.is_some()
    }

    pub(super) fn read(&mut self, read: DefinitionsRead) {
        match read {
            DefinitionsRead::All { revision, definitions } => {
                self.definitions = Some(definitions);
                self.untold = Some(revision);
            }
            DefinitionsRead::Changed { revision, definitions } => {
                let known = self.definitions.get_or_insert_default();
                for (entity, definition) in definitions {
                    match definition {
                        Some(definition) => known.insert(entity, definition),
                        None => known.remove(&entity),
                    };
                }
                self.untold = Some(revision);
            }
            DefinitionsRead::Lost { reason } => {
                // What is known stays: definitions do not become wrong by not being seen.
                tracing::warn!(%reason, "cannot see the definitions");
            }
        }
    }

    /// All of them and their revision, where the core was not told yet.
    pub(super) fn take(&mut self) -> Option<(Vec<v1::EntityDefinition>, u64)> {
        let revision = self.untold.take()?;
        let known = self.definitions.iter().flat_map(BTreeMap::values);
        Some((known.map(|definition| definition.wire.clone()).collect(), revision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::LostReason;

    #[test]
    fn what_is_read_in_pieces_is_told_once() {
        let definition = |name: &str| {
            let wire = v1::EntityDefinition { r#ref: name.into(), ..Default::default() };
            Definition { entity: name.parse().unwrap(), wire }
        };
        let entity = |name: &str| name.parse::<EntityRef>().unwrap();
        let mut known = Known::default();
        assert_eq!((known.is_read(), known.take()), (false, None));
        let all = [("a", definition("a")), ("b", definition("b"))];
        let definitions = all.map(|(name, it)| (entity(name), it)).into();
        known.read(DefinitionsRead::All { revision: 5, definitions });
        for (revision, name, changed) in [(6, "c", Some(definition("c"))), (7, "a", None)] {
            let definitions = [(entity(name), changed)].into();
            known.read(DefinitionsRead::Changed { revision, definitions });
        }
        known.read(DefinitionsRead::Lost { reason: LostReason::Disconnected });
        let (told, revision) = known.take().unwrap();
        let told: Vec<_> = told.into_iter().map(|it| it.r#ref).collect();
        assert_eq!((told, revision), (vec!["b".into(), "c".into()], 7));
        assert_eq!((known.is_read(), known.take()), (true, None));
    }
}
