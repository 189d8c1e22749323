//! A map that forgets what has not been used for long: memory stays bounded, whatever comes.

use std::{collections::HashMap, hash::Hash, mem};

/// A map of bounded size. What was used among the last `most` keys is there; up to as many older ones may be.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    most: usize,
}

impl<K: Eq + Hash + Clone, V> Recent<K, V> {
    /// An empty one, which keeps at least `most` and at most twice as many.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            most,
        }
    }

    /// The value of a key, which counts as a use of it.
    pub(crate) fn get(&mut self, key: &K) -> Option<&V> {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.put(key, value);
        }
        self.young.get(key)
    }

    /// Sets the value of a key; the one before is returned.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.old.remove(&key);
        self.put(key, value).or(before)
    }

    fn put(&mut self, key: K, value: V) -> Option<V> {
        if self.young.len() >= self.most && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_and_the_rest_is_bounded() {
        let mut recent = Recent::new(100);
        for key in 0..1000 {
            assert_eq!(recent.insert(key, key), None);
            assert_eq!(recent.get(&0), Some(&0), "what is in use stays");
            assert_eq!(recent.get(&key), Some(&key));
            assert!(recent.young.len() <= 100 && recent.old.len() <= 100);
        }
        assert_eq!(recent.get(&500), None);
        assert_eq!(recent.insert(999, 5), Some(999));
        assert_eq!(recent.get(&999), Some(&5));
    }
}
