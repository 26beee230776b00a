//! Remembers what reading a prompt left in the context, so that the next prompt that begins alike need not be read
//! from its beginning.
//!
//! The states lie in host memory, where they outlive the sequences that made them and fit both layouts of the context
//! (parts of a sequence can be copied inside the context only where cells are shared; elsewhere llama.cpp aborts).
//! Copying one costs thousandths of what reading it again does. Bounded in bytes; the one used longest ago goes first,
//! so that a system prompt, which every request touches, stays.

use std::cmp::Reverse;

/// A shorter beginning is not worth the copy.
pub(crate) const WORTH: usize = 32;

/// States by the tokens that they hold.
pub(crate) struct PrefixCache<T, S> {
    entries: Vec<Entry<T, S>>,
    /// The most bytes that the states may take together.
    limit: u64,
    /// Counts uses.
    now: u64,
}

struct Entry<T, S> {
    tokens: Vec<T>,
    state: S,
    bytes: u64,
    used: u64,
}

/// A state that begins like a prompt.
pub(crate) struct Hit<'c, S> {
    pub(crate) state: &'c S,
    /// How many of its tokens, from the first on, are the prompt's.
    pub(crate) common: usize,
}

impl<T: PartialEq + Clone, S> PrefixCache<T, S> {
    /// An empty one.
    pub(crate) fn new(limit: u64) -> Self {
        Self { entries: Vec::new(), limit, now: 0 }
    }

    /// The state that has most in common with this prompt, of those with at most `room` tokens. At least one token of
    /// the prompt is left to read, since the model's answer begins there.
    pub(crate) fn find(&mut self, prompt: &[T], room: usize) -> Option<Hit<'_, S>> {
        let readable = &prompt[..prompt.len().saturating_sub(1)];
        let fitting = self.entries.iter_mut().filter(|entry| entry.tokens.len() <= room);
        let (common, entry) = fitting
            .map(|entry| (common(&entry.tokens, readable), entry))
            .filter(|(common, _)| *common >= WORTH)
            .max_by_key(|(common, entry)| (*common, Reverse(entry.tokens.len())))?;
        self.now += 1;
        entry.used = self.now;
        Some(Hit { state: &entry.state, common })
    }

    /// Whether to remember a prompt of so many tokens, of which so many came from here.
    pub(crate) fn wants(&self, prompt: usize, cached: usize, bytes: u64) -> bool {
        prompt - cached >= WORTH && bytes <= self.limit
    }

    /// Remembers a state. What it contains is forgotten, and whatever no longer fits.
    pub(crate) fn insert(&mut self, tokens: &[T], state: S, bytes: u64) {
        if bytes > self.limit {
            return;
        }
        self.entries.retain(|entry| !tokens.starts_with(&entry.tokens));
        self.now += 1;
        self.entries.push(Entry { tokens: tokens.to_vec(), state, bytes, used: self.now });
        while self.entries.iter().map(|entry| entry.bytes).sum::<u64>() > self.limit {
            let oldest = self.entries.iter().enumerate().min_by_key(|(_, entry)| entry.used);
            let (oldest, _) = oldest.expect("an empty cache is within its limit");
            self.entries.swap_remove(oldest);
        }
    }
}

/// How many tokens the two begin with alike.
fn common<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prompt(system: u8, user: u8) -> Vec<u8> {
        [[system; 40], [user; 40]].concat()
    }

    #[test]
    fn the_longest_common_beginning_is_found() {
        let mut cache = PrefixCache::new(1000);
        cache.insert(&prompt(1, 2), "a", 100);
        cache.insert(&prompt(1, 3), "b", 100);
        let hit = cache.find(&[prompt(1, 3), vec![9]].concat(), 1000).expect("a hit");
        assert_eq!((*hit.state, hit.common), ("b", 80));
        let hit = cache.find(&prompt(1, 4), 1000).expect("a hit");
        assert_eq!(hit.common, 40);
        assert!(cache.find(&prompt(5, 2), 1000).is_none());
        assert!(cache.find(&prompt(1, 4), 79).is_none(), "no room for the whole of it");
    }

    #[test]
    fn the_last_token_of_a_prompt_is_always_read() {
        let mut cache = PrefixCache::new(1000);
        cache.insert(&prompt(1, 2), "a", 100);
        assert_eq!(cache.find(&prompt(1, 2), 1000).expect("a hit").common, 79);
    }

    #[test]
    fn what_goes_on_a_remembered_prompt_takes_its_place() {
        let mut cache = PrefixCache::new(1000);
        cache.insert(&prompt(1, 2), "a", 600);
        cache.insert(&[prompt(1, 2), prompt(3, 4)].concat(), "b", 900);
        assert_eq!(cache.entries.len(), 1);
    }

    #[test]
    fn the_one_used_longest_ago_makes_room() {
        let mut cache = PrefixCache::new(250);
        cache.insert(&prompt(1, 1), 1, 100);
        cache.insert(&prompt(2, 2), 2, 100);
        assert!(cache.find(&prompt(1, 9), 1000).is_some());
        cache.insert(&prompt(3, 3), 3, 100);
        assert!(cache.find(&prompt(2, 9), 1000).is_none());
        assert!(cache.find(&prompt(1, 9), 1000).is_some());
        cache.insert(&prompt(4, 4), 4, 251);
        assert_eq!(cache.entries.len(), 2, "what can never fit changes nothing");
        assert!(!cache.wants(80, 0, 251) && !cache.wants(80, 70, 100) && cache.wants(80, 0, 250));
    }

    proptest! {
        #[test]
        fn it_never_takes_more_than_its_limit(
            inserts in prop::collection::vec((any::<u8>(), any::<u8>(), 0u64..200), 0..40), limit in 0u64..500,
        ) {
            let mut cache = PrefixCache::new(limit);
            for (system, user, bytes) in inserts {
                cache.insert(&prompt(system % 4, user % 4), (), bytes);
                prop_assert!(cache.entries.iter().map(|entry| entry.bytes).sum::<u64>() <= limit);
            }
        }
    }
}
