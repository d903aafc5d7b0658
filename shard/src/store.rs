//! The stored values: a map bounded in keys and bytes.

use dashmap::DashMap;
use dashmap::Entry;
use protocol::Key;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Overhead of an entry in bytes, beside its key and value: the map slot and the headers of both allocations.
pub const ENTRY_BYTES: u64 = 128;

/// The limits of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Largest number of keys.
    pub keys: u64,
    /// Largest size in bytes: keys, values and [`ENTRY_BYTES`] per entry.
    pub bytes: u64,
}

/// A stored value.
#[derive(Clone, Debug)]
pub enum Value {
    /// Created on the fly by a read of an absent key.
    Auto {
        /// Time of creation in Unix seconds.
        created_at: u64,
    },
    /// A written JSON object, as the exact text that was sent.
    Written(Arc<RawValue>),
}

impl Value {
    fn len(&self) -> u64 {
        match self {
            Self::Auto { .. } => 0,
            Self::Written(json) => json.get().len() as u64,
        }
    }
}

/// The limit that refused an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// [`StoreLimits::keys`].
    Keys,
    /// [`StoreLimits::bytes`].
    Bytes,
}

/// A map from keys to values that never exceeds its limits.
pub struct Store {
    limits: StoreLimits,
    map: DashMap<Key, Value>,
    keys: AtomicU64,
    bytes: AtomicU64,
}

impl Store {
    /// Creates an empty store.
    #[must_use]
    pub fn new(limits: StoreLimits) -> Self {
        Self { limits, map: DashMap::new(), keys: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Returns the value of `key`, and whether the key existed. An absent value is created, with `now` in Unix seconds
    /// as its time of creation.
    ///
    /// # Errors
    /// The key is absent and there is no room for it.
    pub fn read(&self, key: &Key, now: u64) -> Result<(Value, bool), Full> {
        if let Some(value) = self.map.get(key) {
            return Ok((value.clone(), true));
        }
        match self.map.entry(key.clone()) {
            Entry::Occupied(held) => Ok((held.get().clone(), true)),
            Entry::Vacant(free) => {
                let value = Value::Auto { created_at: now };
                self.take_entry(key, &value)?;
                free.insert(value.clone());
                Ok((value, false))
            }
        }
    }

    /// Stores `value` under `key`.
    ///
    /// # Errors
    /// There is no room, because the key is new or the value is longer than the old one. The old value stays.
    pub fn write(&self, key: Key, value: Value) -> Result<(), Full> {
        match self.map.entry(key) {
            Entry::Occupied(mut held) => {
                let (old, new) = (held.get().len(), value.len());
                if new > old {
                    self.take_bytes(new - old)?;
                }
                held.insert(value);
                self.bytes.fetch_sub(old.saturating_sub(new), Ordering::Relaxed);
            }
            Entry::Vacant(free) => {
                self.take_entry(free.key(), &value)?;
                free.insert(value);
            }
        }
        Ok(())
    }

    /// Removes everything stored before the call. Concurrent writes may stay.
    pub fn clear(&self) {
        self.map.retain(|key, value| {
            self.keys.fetch_sub(1, Ordering::Relaxed);
            self.bytes.fetch_sub(cost(key, value), Ordering::Relaxed);
            false
        });
        self.map.shrink_to_fit();
    }

    /// The number of stored keys.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.keys.load(Ordering::Relaxed)
    }

    /// The stored size in bytes, as defined by [`StoreLimits::bytes`].
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The limits of this store.
    #[must_use]
    pub fn limits(&self) -> StoreLimits {
        self.limits
    }

    fn take_entry(&self, key: &Key, value: &Value) -> Result<(), Full> {
        if !take(&self.keys, 1, self.limits.keys) {
            return Err(Full::Keys);
        }
        self.take_bytes(cost(key, value)).inspect_err(|_| {
            self.keys.fetch_sub(1, Ordering::Relaxed);
        })
    }

    fn take_bytes(&self, bytes: u64) -> Result<(), Full> {
        if take(&self.bytes, bytes, self.limits.bytes) { Ok(()) } else { Err(Full::Bytes) }
    }
}

fn cost(key: &Key, value: &Value) -> u64 {
    ENTRY_BYTES + key.as_str().len() as u64 + value.len()
}

/// Adds `by` to `counter`. Returns false if the sum would exceed `most`.
fn take(counter: &AtomicU64, by: u64, most: u64) -> bool {
    counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            now.checked_add(by).filter(|sum| *sum <= most)
        })
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl PartialEq for Value {
        fn eq(&self, other: &Self) -> bool {
            match (self, other) {
                (Self::Auto { created_at: a }, Self::Auto { created_at: b }) => a == b,
                (Self::Written(a), Self::Written(b)) => a.get() == b.get(),
                _ => false,
            }
        }
    }

    fn key(n: u32) -> Key {
        Key::new(&format!("key-{n}")).unwrap()
    }

    fn json(len: usize) -> Value {
        // A JSON value has at least one byte.
        Value::Written(RawValue::from_string("1".repeat(len.max(1))).unwrap().into())
    }

    #[test]
    fn an_absent_key_is_made_once() {
        let store = Store::new(StoreLimits { keys: 2, bytes: 1_000 });
        assert_eq!(store.read(&key(1), 10), Ok((Value::Auto { created_at: 10 }, false)));
        assert_eq!(store.read(&key(1), 20), Ok((Value::Auto { created_at: 10 }, true)));
        store.write(key(1), json(2)).unwrap();
        assert_eq!(store.read(&key(1), 30), Ok((json(2), true)));
    }

    #[test]
    fn a_full_store_takes_no_new_key_and_keeps_what_it_has() {
        let store = Store::new(StoreLimits { keys: 2, bytes: 1_000 });
        store.read(&key(1), 0).unwrap();
        store.write(key(2), json(2)).unwrap();
        assert_eq!(store.read(&key(3), 0), Err(Full::Keys));
        assert_eq!(store.write(key(3), json(2)), Err(Full::Keys));
        store.write(key(2), json(3)).unwrap();
        assert_eq!((store.keys(), store.bytes()), (2, 2 * ENTRY_BYTES + 10 + 3));
        store.clear();
        assert_eq!((store.keys(), store.bytes()), (0, 0));
        store.write(key(3), json(2)).unwrap();
    }

    #[test]
    fn bytes_are_bounded_too() {
        let store = Store::new(StoreLimits { keys: 100, bytes: 2 * ENTRY_BYTES + 10 + 40 });
        store.write(key(1), json(20)).unwrap();
        store.write(key(2), json(20)).unwrap();
        assert_eq!(store.write(key(3), json(0)), Err(Full::Bytes));
        assert_eq!(store.write(key(1), json(21)), Err(Full::Bytes));
        assert_eq!(store.read(&key(1), 0), Ok((json(20), true)));
        store.write(key(1), json(19)).unwrap();
        store.write(key(2), json(21)).unwrap();
        assert_eq!(store.keys(), 2);
    }

    #[test]
    fn counts_are_exact_after_writers_and_resets_at_once() {
        let store = Store::new(StoreLimits { keys: 500, bytes: 1 << 20 });
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    for i in 0..20_000u32 {
                        let key = key(i.wrapping_mul(7 + thread) % 1_000);
                        match i % 3 {
                            0 => drop(store.read(&key, 0)),
                            1 => drop(store.write(key, json(i as usize % 50))),
                            _ if i % 1_000 == 2 => store.clear(),
                            _ => {}
                        }
                    }
                });
            }
        });
        let held: u64 = store.map.iter().map(|entry| cost(entry.key(), entry.value())).sum();
        assert_eq!((store.keys(), store.bytes()), (store.map.len() as u64, held));
        assert!(store.keys() <= 500);
    }
}
