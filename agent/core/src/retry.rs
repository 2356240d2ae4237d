//! What the stream refused, and may take by now, is tried again: slowly, and through a list, since the core holds no objects.

use crate::{
    mirror::{Entry, Existence, Refused},
    watched::{Desk, Farewell, Watched},
};

impl Watched {
    /// What was refused, and may not be now, is to be sent again. Gives whether a list is needed for it.
    pub(crate) fn retry_refused(&mut self, desk: &mut Desk<'_>) -> bool {
        self.refused_retry_at_ms = None;
        let may_pass = |(_, entry): &(u32, &Entry)| {
            matches!(entry.refused, Some(Refused::StreamFull | Refused::Permission))
        };
        let refused: Vec<(u32, Existence)> = self
            .objects
            .iter()
            .filter(may_pass)
            .map(|(index, entry)| (index, entry.existence))
            .collect();
        let mut needs_list = false;
        for (index, existence) in refused {
            if existence == Existence::Gone {
                self.leave(index, desk, Farewell::default());
            } else {
                self.change(index, |entry| entry.wanted = true);
                needs_list = true;
            }
        }
        needs_list
    }
}
