//! A list that never moves what is in it: it grows by a piece of memory at a time.
//!
//! A `Vec` of a million objects is copied as a whole each time it grows, into memory that must be cleared first, and leaves as
//! much behind; here nothing is copied, and at most one chunk is spare.

/// Items of one chunk. Few enough to be spare, many enough for the list of chunks to stay in the cache.
const CHUNK: usize = 1_024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Chunks<T> {
    /// All but the last are full.
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> Chunks<T> {
    pub(crate) fn len(&self) -> usize {
        let last = self.chunks.last().map_or(0, Vec::len);
        self.chunks.len().saturating_sub(1) * CHUNK + last
    }

    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }

    pub(crate) fn push(&mut self, item: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(item),
            Some(_) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(item);
                self.chunks.push(chunk);
            }
            // The first one grows as it must: most lists are short.
            None => self.chunks.push(vec![item]),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_list() {
        let mut list = Chunks::default();
        assert_eq!((list.len(), list.get(0)), (0, None));
        for index in 0..3 * CHUNK + 1 {
            list.push(index);
            assert_eq!(
                (list.len(), list.get(index), list.get(index + 1)),
                (index + 1, Some(&index), None)
            );
        }
        *list.get_mut(CHUNK).unwrap() = 7;
        let want = (0..3 * CHUNK + 1).map(|index| if index == CHUNK { 7 } else { index });
        assert!(list.iter().copied().eq(want));
        assert!(list.get_mut(3 * CHUNK + 1).is_none());
    }
}
