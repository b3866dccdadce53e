//! State of processors: small keyed stores, one set per task, committed with the task's progress.
//!
//! What a task remembers lies in its ledger row beside the marks, so it moves in the transaction that moves the rows: it is never ahead of
//! them and never behind, whatever is killed when. That makes stores small by nature ([`STATE_BYTES_MAX`]): they are written whole when
//! they changed. They are for what must be known of the recent past, such as ids that were seen; not for copies of tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result, Stage};

/// Bytes that all stores of one task may hold together, keys and values with six bytes each.
pub const STATE_BYTES_MAX: usize = 128 * 1024;

const ENTRY_OVERHEAD_BYTES: usize = 6;

/// One named store of one task, as a processor sees it. What it writes is committed with the record at hand, or forgotten with it.
pub trait StateStore {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Option<&[u8]>;

    /// The smallest key with its value.
    fn first(&self) -> Option<(&[u8], &[u8])>;

    /// The greatest key with its value.
    fn last(&self) -> Option<(&[u8], &[u8])>;

    /// How many keys there are.
    fn len(&self) -> usize;

    /// True when there is no key.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// `Configuration` when the task's stores would hold more than [`STATE_BYTES_MAX`]: the processor must forget something first.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Removes a key.
    fn delete(&mut self, key: &[u8]);
}

type Entries = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// All stores of one task. Cloning is cheap until one of the two is changed.
#[derive(Debug, Default)]
pub struct TaskState {
    stores: Arc<BTreeMap<Box<str>, Entries>>,
    size_bytes: usize,
    /// What the record at hand has changed.
    changes: Vec<StateChange>,
}

/// A key that the record at hand has written or deleted.
#[derive(Debug)]
struct StateChange {
    store: &'static str,
    key: Box<[u8]>,
    before: Option<Box<[u8]>>,
}

impl Clone for TaskState {
    fn clone(&self) -> TaskState {
        TaskState { stores: Arc::clone(&self.stores), size_bytes: self.size_bytes, changes: Vec::new() }
    }
}

impl PartialEq for TaskState {
    fn eq(&self, other: &TaskState) -> bool {
        self.stores == other.stores
    }
}

impl Eq for TaskState {}

impl TaskState {
    /// The record at hand has had its turn: what it changed stays.
    pub(crate) fn keep(&mut self) {
        self.changes.clear();
    }

    /// The record at hand comes again: what it changed is as before.
    pub(crate) fn take_back(&mut self) {
        for StateChange { store, key, before } in std::mem::take(&mut self.changes).into_iter().rev() {
            let mut store = Store { state: self, name: store };
            match before {
                Some(value) => store.set(&key, &value),
                None => store.remove(&key),
            }
        }
    }

    /// The store of this name, empty at first.
    pub fn store(&mut self, name: &'static str) -> impl StateStore + '_ {
        Store { state: self, name }
    }

    /// True when no store holds anything.
    pub fn is_empty(&self) -> bool {
        self.size_bytes == 0
    }

    /// Appends all stores: name, number of entries, entries.
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        for (name, entries) in self.stores.iter().filter(|(_, entries)| !entries.is_empty()) {
            put(out, name.as_bytes());
            out.extend_from_slice(&(entries.len() as u32).to_be_bytes());
            for (key, value) in entries {
                put(out, key);
                put(out, value);
            }
        }
    }

    /// Reads what [`TaskState::encode_into`] wrote; `None` when the bytes are not ours.
    pub(crate) fn decode(mut rest: &[u8]) -> Option<TaskState> {
        let mut stores = BTreeMap::new();
        let mut size_bytes = 0;
        while !rest.is_empty() {
            let name = str::from_utf8(take(&mut rest)?).ok()?;
            let (count, tail) = rest.split_first_chunk::<4>()?;
            rest = tail;
            let mut entries = Entries::new();
            for _ in 0..u32::from_be_bytes(*count) {
                let (key, value) = (take(&mut rest)?, take(&mut rest)?);
                size_bytes += key.len() + value.len() + ENTRY_OVERHEAD_BYTES;
                entries.insert(key.into(), value.into());
            }
            stores.insert(name.into(), entries);
        }
        Some(TaskState { stores: Arc::new(stores), size_bytes, changes: Vec::new() })
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let (bytes, tail) = tail.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = tail;
    Some(bytes)
}

struct Store<'a> {
    state: &'a mut TaskState,
    name: &'static str,
}

impl Store<'_> {
    fn entries(&self) -> Option<&Entries> {
        self.state.stores.get(self.name)
    }

    fn note(&mut self, key: &[u8]) {
        let before = self.get(key).map(Box::from);
        self.state.changes.push(StateChange { store: self.name, key: key.into(), before });
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        let before = self.get(key).map_or(0, |old| key.len() + old.len() + ENTRY_OVERHEAD_BYTES);
        self.state.size_bytes += key.len() + value.len() + ENTRY_OVERHEAD_BYTES;
        self.state.size_bytes -= before;
        let stores = Arc::make_mut(&mut self.state.stores);
        stores.entry(self.name.into()).or_default().insert(key.into(), value.into());
    }

    fn remove(&mut self, key: &[u8]) {
        let stores = Arc::make_mut(&mut self.state.stores);
        if let Some(value) = stores.get_mut(self.name).and_then(|entries| entries.remove(key)) {
            self.state.size_bytes -= key.len() + value.len() + ENTRY_OVERHEAD_BYTES;
        }
    }
}

impl StateStore for Store<'_> {
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.entries()?.get(key).map(|value| &**value)
    }

    fn first(&self) -> Option<(&[u8], &[u8])> {
        self.entries()?.first_key_value().map(|(key, value)| (&**key, &**value))
    }

    fn last(&self) -> Option<(&[u8], &[u8])> {
        self.entries()?.last_key_value().map(|(key, value)| (&**key, &**value))
    }

    fn len(&self) -> usize {
        self.entries().map_or(0, Entries::len)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let before = self.get(key).map_or(0, |old| key.len() + old.len() + ENTRY_OVERHEAD_BYTES);
        let size_bytes = self.state.size_bytes - before + key.len() + value.len() + ENTRY_OVERHEAD_BYTES;
        if size_bytes > STATE_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::Configuration,
                Stage::Process,
                "state of a task is too large",
                format!(
                    "store {}: {size_bytes} bytes, at most {STATE_BYTES_MAX}; let the processor keep less",
                    self.name
                ),
            ));
        }
        self.note(key);
        self.set(key, value);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) {
        if self.get(key).is_none() {
            return;
        }
        self.note(key);
        self.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_keep_what_was_put_and_are_read_back_from_bytes() {
        let mut state = TaskState::default();
        state.store("seen").put(b"b", b"2").unwrap();
        state.store("seen").put(b"a", b"1").unwrap();
        state.store("seen").put(b"a", b"one").unwrap();
        state.store("other").put(b"x", b"").unwrap();
        state.store("other").delete(b"not there");
        assert_eq!(state.store("seen").first(), Some((&b"a"[..], &b"one"[..])));
        assert_eq!(state.store("seen").len(), 2);
        assert!(state.store("new").is_empty());
        let mut bytes = Vec::new();
        state.encode_into(&mut bytes);
        assert_eq!(TaskState::decode(&bytes), Some(state.clone()));
        for end in 1..bytes.len() {
            // Cut anywhere it is unreadable or shorter, never a panic.
            assert_ne!(TaskState::decode(&bytes[..end]), Some(state.clone()));
        }
        for key in [&b"a"[..], b"b"] {
            state.store("seen").delete(key);
        }
        state.store("other").delete(b"x");
        assert!(state.is_empty());
    }

    #[test]
    fn what_a_record_changed_is_taken_back_when_it_comes_again() {
        // given
        let mut state = TaskState::default();
        state.store("seen").put(b"a", b"1").unwrap();
        state.store("seen").put(b"b", b"2").unwrap();
        state.keep();
        let before = state.clone();
        // when
        state.store("seen").put(b"a", b"one").unwrap();
        state.store("seen").put(b"a", b"three").unwrap();
        state.store("seen").delete(b"b");
        state.store("new").put(b"c", b"4").unwrap();
        state.store("new").delete(b"c");
        state.take_back();
        // then
        assert_eq!(state.store("seen").get(b"a"), Some(&b"1"[..]));
        assert_eq!(state.store("seen").get(b"b"), Some(&b"2"[..]));
        assert!(state.store("new").is_empty());
        let bytes = |state: &TaskState| {
            let mut bytes = Vec::new();
            state.encode_into(&mut bytes);
            bytes
        };
        assert_eq!((bytes(&state), state.size_bytes), (bytes(&before), before.size_bytes));
    }

    #[test]
    fn a_copy_does_not_see_later_changes() {
        let mut state = TaskState::default();
        state.store("seen").put(b"a", b"1").unwrap();
        let mut committed = state.clone();
        state.store("seen").put(b"a", b"2").unwrap();
        assert_eq!(committed.store("seen").get(b"a"), Some(&b"1"[..]));
    }

    #[test]
    fn a_store_that_grows_without_bound_is_refused() {
        let mut state = TaskState::default();
        let value = vec![0; STATE_BYTES_MAX - ENTRY_OVERHEAD_BYTES - 1];
        state.store("big").put(b"k", &value).unwrap();
        state.store("big").put(b"k", &value).unwrap();
        let error = state.store("small").put(b"k", b"").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Configuration);
    }
}
