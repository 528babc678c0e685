//! What the sessions have been told: which tasks were committed, which were not, which were cancelled.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use super::kinds::Kind;

/// What became of the transaction that enqueued a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its commit was acknowledged.
    Committed,
    /// It was rolled back, or never got as far as its commit.
    RolledBack,
    /// The connection was lost during the commit.
    Doubtful,
}

/// What is known of a task.
#[derive(Clone)]
pub struct Entry {
    pub kind: &'static Kind,
    /// The transaction that enqueued it: all of its tasks are there, or none.
    pub transaction: u64,
    pub fate: Fate,
    /// When somebody asked for it to be cancelled and was not told that it had ended; `true`: was told that it is.
    pub cancels: Vec<(Instant, bool)>,
}

/// A task on its way into the queue.
#[derive(Clone)]
pub struct Draft {
    pub label: String,
    pub kind: &'static Kind,
    pub task_id: Option<i64>,
}

/// The client's side of the accounts.
#[derive(Default)]
pub struct Book(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    entries: HashMap<String, Entry>,
    transactions: u64,
    labels: u64,
    /// Transactions that were prepared (or may have been), by their identifiers.
    prepared: HashMap<String, Vec<Draft>>,
    recent: Vec<(String, i64)>,
}

impl Book {
    /// A label that no task has.
    pub fn label(&self) -> String {
        let mut inner = self.0.lock().unwrap();
        inner.labels += 1;
        format!("t{}", inner.labels)
    }

    /// Notes what became of a transaction with these tasks.
    pub fn note(&self, drafts: &[Draft], fate: Fate) {
        let mut inner = self.0.lock().unwrap();
        inner.transactions += 1;
        let transaction = inner.transactions;
        for draft in drafts {
            let Draft { label, kind, task_id } = draft.clone();
            if let (Fate::Committed, Some(id)) = (fate, task_id) {
                inner.recent.push((label.clone(), id));
            }
            let entry = Entry { kind, transaction, fate, cancels: Vec::new() };
            assert!(inner.entries.insert(label, entry).is_none(), "a transaction is noted once");
        }
    }

    /// A task that was enqueued lately, to be cancelled; nobody else is given it.
    pub fn take_recent(&self) -> Option<(String, i64)> {
        self.0.lock().unwrap().recent.pop()
    }

    /// Notes that a cancel was asked for. `sure`: it was acknowledged.
    pub fn note_cancel(&self, label: &str, asked_at: Instant, sure: bool) {
        if let Some(entry) = self.0.lock().unwrap().entries.get_mut(label) {
            entry.cancels.push((asked_at, sure));
        }
    }

    /// Notes a transaction that is, or may be, prepared.
    pub fn add_prepared(&self, identifier: String, drafts: Vec<Draft>) {
        self.0.lock().unwrap().prepared.insert(identifier, drafts);
    }

    /// A prepared transaction to be ended; whoever gets it has to note what became of it.
    pub fn take_prepared(&self) -> Option<(String, Vec<Draft>)> {
        let mut inner = self.0.lock().unwrap();
        let identifier = inner.prepared.keys().next().cloned()?;
        inner.prepared.remove_entry(&identifier)
    }

    /// Every task by its label.
    pub fn entries(&self) -> HashMap<String, Entry> {
        self.0.lock().unwrap().entries.clone()
    }
}
