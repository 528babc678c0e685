//! What happened in a database within a span of time, by task type and by provider.

use crate::distribution::Distribution;
use crate::entry::Entry;
use crate::key::Kind;
use crate::snapshot::{Counter, Snapshot, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Stands for the task types, or the providers, beyond the number that is kept.
pub const OTHER: &str = "other";

/// The figures of a task type, of a provider, or of all.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    pub succeeded: i64,
    pub failed: i64,
    pub cancelled: i64,
    pub repeated: i64,
    pub errors: i64,
    pub calls: i64,
    pub failed_calls: i64,
    pub waiting: Distribution,
    pub running: Distribution,
    pub provider: Distribution,
}

impl Default for Figures {
    fn default() -> Self {
        let none = Distribution::EMPTY;
        Figures {
            succeeded: 0,
            failed: 0,
            cancelled: 0,
            repeated: 0,
            errors: 0,
            calls: 0,
            failed_calls: 0,
            waiting: none.clone(),
            running: none.clone(),
            provider: none,
        }
    }
}

impl Figures {
    fn add(&mut self, other: &Figures) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.repeated += other.repeated;
        self.errors += other.errors;
        self.calls += other.calls;
        self.failed_calls += other.failed_calls;
        self.waiting.add(&other.waiting);
        self.running.add(&other.running);
        self.provider.add(&other.provider);
    }

    fn add_tasks(&mut self, counts: &Snapshot) {
        self.succeeded += counts.count(Counter::Succeeded);
        self.failed += counts.count(Counter::Failed);
        self.cancelled += counts.count(Counter::Cancelled);
        self.repeated += counts.count(Counter::Repeated);
        self.errors += counts.count(Counter::Errors);
        self.waiting.add(counts.time(Time::Waiting));
        self.running.add(counts.time(Time::Running));
    }

    fn add_calls(&mut self, counts: &Snapshot) {
        self.calls += counts.count(Counter::Calls);
        self.failed_calls += counts.count(Counter::FailedCalls);
        self.provider.add(counts.time(Time::Provider));
    }

    /// How much happened, to choose whose figures are kept.
    const fn weight(&self) -> i64 {
        self.succeeded + self.failed + self.cancelled + self.calls
    }
}

/// What happened, by task type and by provider.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    pub types: BTreeMap<String, Figures>,
    pub providers: BTreeMap<String, Figures>,
}

impl Summary {
    /// Adds what an entry has counted.
    pub fn add_entry(&mut self, entry: &Entry, counts: &Snapshot) {
        match entry.kind() {
            Kind::Tasks => self.types.entry(entry.task_type()).or_default().add_tasks(counts),
            Kind::Calls => {
                self.types.entry(entry.task_type()).or_default().add_calls(counts);
                self.providers.entry(entry.name()).or_default().add_calls(counts);
            }
            Kind::Database | Kind::Handler => {}
        }
    }

    pub fn add(&mut self, other: &Summary) {
        let add = |to: &mut BTreeMap<String, Figures>, from: &BTreeMap<String, Figures>| {
            from.iter().for_each(|(name, figures)| to.entry(name.clone()).or_default().add(figures));
        };
        add(&mut self.types, &other.types);
        add(&mut self.providers, &other.providers);
    }

    /// The sum of all task types. It contains the calls of all providers.
    pub fn total(&self) -> Figures {
        let mut total = Figures::default();
        self.types.values().for_each(|figures| total.add(figures));
        total
    }

    /// Keeps the figures of the `number` task types and providers with which most happened, and sums up the rest.
    pub fn limit(&mut self, number: usize) {
        limit(&mut self.types, number);
        limit(&mut self.providers, number);
    }
}

fn limit(all: &mut BTreeMap<String, Figures>, number: usize) {
    if all.len() <= number {
        return;
    }
    let mut weights: Vec<(i64, String)> =
        all.iter().map(|(name, figures)| (figures.weight(), name.clone())).collect();
    weights.sort();
    weights.truncate(all.len() - number);
    let mut other = Figures::default();
    for (_, name) in weights {
        other.add(&all.remove(&name).unwrap_or_default());
    }
    all.entry(OTHER.to_owned()).or_default().add(&other);
}
