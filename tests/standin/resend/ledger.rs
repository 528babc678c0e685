//! The mails taken, and the idempotency keys seen.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::strings;
use crate::{Answer, Request};

/// A mail that was accepted.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The id it was given.
    pub id: String,
    /// The request's JSON body.
    pub body: Value,
    /// `Idempotency-Key`, if there was one.
    pub idempotency_key: Option<String>,
    /// `User-Agent`.
    pub user_agent: String,
    /// When its request had been read.
    pub received_at: SystemTime,
    /// Number of the connection it came over, from 1 in the order they were opened.
    pub connection: usize,
    /// The client's port.
    pub peer_port: u16,
}

impl Mail {
    pub(crate) fn new(request: &Request, body: &Value) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            body: body.clone(),
            idempotency_key: request.header("Idempotency-Key").map(str::to_owned),
            user_agent: request.header("User-Agent").unwrap_or_default().to_owned(),
            received_at: request.received_at,
            connection: request.connection,
            peer_port: request.peer_port,
        }
    }

    /// The recipients in `to`, as written.
    pub fn to(&self) -> Vec<&str> {
        strings(&self.body["to"])
    }

    /// The subject.
    pub fn subject(&self) -> &str {
        self.body["subject"].as_str().unwrap_or_default()
    }

    /// What a mailbox file holds of it: one object; `received_at` in seconds since 1970.
    pub fn to_json(&self) -> Value {
        let since_1970 = self.received_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        json!({
            "id": self.id,
            "received_at": since_1970.as_secs_f64(),
            "idempotency_key": self.idempotency_key,
            "user_agent": self.user_agent,
            "mail": self.body,
        })
    }
}

/// How a request stands to its idempotency key.
pub(crate) enum Standing {
    /// No key, or its first use (or none that was accepted).
    New,
    /// The first request with the key is still being answered.
    InProgress,
    /// The key was used with another body.
    OtherBody,
    /// A repeat; this was the answer.
    Answered(Answer),
}

struct Entry {
    body: Vec<u8>,
    answer: Option<Answer>,
}

/// The mails taken, and the idempotency keys seen.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) mails: Vec<Mail>,
    uses: HashMap<String, usize>,
    entries: HashMap<String, Entry>,
}

impl Ledger {
    /// Counts a use of the key; returns how many there were before.
    pub(crate) fn count_use(&mut self, key: Option<&str>) -> usize {
        let Some(key) = key else { return 0 };
        let uses = self.uses.entry(key.to_owned()).or_default();
        *uses += 1;
        *uses - 1
    }

    pub(crate) fn standing(&self, key: Option<&str>, body: &[u8]) -> Standing {
        match key.and_then(|key| self.entries.get(key)) {
            None => Standing::New,
            Some(entry) if entry.body != body => Standing::OtherBody,
            Some(Entry { answer: None, .. }) => Standing::InProgress,
            Some(Entry { answer: Some(answer), .. }) => Standing::Answered(answer.clone()),
        }
    }

    /// The first request with this key is in progress from now on.
    pub(crate) fn begin(&mut self, key: Option<&str>, body: &[u8]) {
        if let Some(key) = key {
            self.entries.insert(key.to_owned(), Entry { body: body.to_vec(), answer: None });
        }
    }

    /// The request in progress ended with this answer; without one, it was refused and the key is free again.
    pub(crate) fn settle(&mut self, key: &str, answer: Option<Answer>) {
        match answer {
            None => drop(self.entries.remove(key)),
            Some(answer) => {
                if let Some(entry) = self.entries.get_mut(key) {
                    entry.answer = Some(answer);
                }
            }
        }
    }

    pub(crate) fn forget_keys(&mut self) {
        self.uses.clear();
        self.entries.clear();
    }
}
