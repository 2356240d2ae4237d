//! The lists of one kind: which one it is in, whether one is used, and what follows from a whole one.

use crate::{
    input::History,
    watched::{Desk, Watched, version},
};

/// Where the kind stands with its lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    /// None of this epoch, or since a freeze, has begun: what the watch says is of before.
    Awaited,
    /// One runs.
    Running {
        /// It named an object whose name could not be read: what it did not name may exist.
        nameless: bool,
    },
    /// One is whole.
    Whole,
}

/// Whether another list is to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relist {
    /// No.
    No,
    /// At once, and all that the watch said before is to be forgotten.
    Anew,
    /// When the monotonic clock says so. Milliseconds.
    At(u64),
    /// It was asked for, and has not begun.
    Asked,
}

impl Watched {
    /// Compares the list with what was seen before anything of it is used: also a watch that is new, and knows of nothing
    /// before it, must not take the kind back in time.
    pub(crate) fn begin_list(&mut self, resource_version: &str, history: History) {
        if history == History::Rewound {
            self.highest = 0;
            self.set_back = true;
        }
        if self.refuses(version(resource_version)) {
            return;
        }
        self.list = List::Running { nameless: false };
        self.relist = Relist::No;
        self.nameless = 0;
        for entry in self.objects.iter_mut() {
            entry.listed = false;
        }
    }

    pub(crate) fn end_list(&mut self, resource_version: String, unnamed: u64, desk: &mut Desk<'_>) {
        let List::Running { nameless } = self.list else { return };
        let of_list = version(&resource_version);
        if self.refuses(of_list) {
            return;
        }
        if of_list != 0 && of_list < self.highest {
            self.highest = of_list;
        }
        self.set_back = false;
        self.saw(of_list);
        self.list = List::Whole;
        self.list_resource_version = resource_version;
        if !nameless && unnamed == 0 {
            self.bury_unlisted(desk);
        }
    }

    /// Whether a list is older than what was seen. The first such list is not used, and another is asked for; the second holds.
    fn refuses(&mut self, of_list: u64) -> bool {
        let older = of_list != 0 && of_list < self.highest;
        if !older || self.set_back {
            return false;
        }
        self.outdated += 1;
        self.set_back = true;
        self.list = List::Awaited;
        self.relist = Relist::At(0);
        true
    }

    pub(crate) fn bury_unlisted(&mut self, desk: &mut Desk<'_>) {
        let unlisted = self.objects.iter().filter(|(_, entry)| !entry.listed);
        let unlisted: Vec<u32> = unlisted.map(|(index, _)| index).collect();
        for index in unlisted {
            self.bury(index, desk);
        }
    }
}
