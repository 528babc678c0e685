//! The facts, as `sql/87_report_facts.sql` and its siblings gather them.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The facts of a section, or why they could not be read.
pub type Read<T> = Result<T, String>;

pub struct Facts {
    pub head: Read<Head>,
    pub problems: Read<Rows<Problem>>,
    pub history: Read<History>,
    pub stats: Read<Stats>,
    pub providers: Read<Rows<Provider>>,
    pub tasks: Read<Tasks>,
    pub waiting: Read<Waiting>,
    pub keys: Read<Keys>,
    pub pace: Read<Pace>,
    pub settings: Read<Settings>,
    pub failures: Read<Failures>,
    pub locks: Read<Rows<Lock>>,
}

impl Facts {
    pub fn of(all: &Value) -> Facts {
        Facts {
            head: read(all, "head"),
            problems: read(all, "problems"),
            history: read(all, "history"),
            stats: read(all, "stats"),
            providers: read(all, "providers"),
            tasks: read(all, "tasks"),
            waiting: read(all, "waiting"),
            keys: read(all, "keys"),
            pace: read(all, "pace"),
            settings: read(all, "settings"),
            failures: read(all, "failures"),
            locks: read(all, "locks"),
        }
    }
}

fn read<T: DeserializeOwned>(all: &Value, name: &str) -> Read<T> {
    let fact = all.get(name).ok_or_else(|| "there is no such fact".to_owned())?;
    match fact.get("error").and_then(Value::as_str) {
        Some(error) => Err(error.to_owned()),
        None => T::deserialize(fact).map_err(|error| error.to_string()),
    }
}

#[derive(Deserialize)]
pub struct Rows<T> {
    pub rows: Vec<T>,
}

#[derive(Deserialize)]
pub struct Head {
    pub database: String,
    pub cluster: Option<String>,
    pub server_version: String,
    pub extension_version: Option<String>,
    pub library_version: String,
    pub is_preloaded: bool,
    pub is_standby: bool,
    pub started_at: f64,
    pub made_at: f64,
    pub from: f64,
    pub to: f64,
    pub utc_offset: i64,
    pub time_zone: String,
}

#[derive(Deserialize)]
pub struct Problem {
    pub problem: String,
    pub severity: String,
    pub explanation: String,
    pub hint: Option<String>,
}

#[derive(Deserialize)]
pub struct History {
    /// The length of a step in seconds.
    pub step: f64,
    pub bins: Vec<Bin>,
}

/// The quantiles 50, 95 and 99 % in milliseconds.
pub type Quantiles = [Option<f64>; 3];

/// A step of the history.
#[derive(Deserialize)]
pub struct Bin {
    pub at: f64,
    pub succeeded: i64,
    pub failed: i64,
    pub cancelled: i64,
    pub calls: i64,
    pub failed_calls: i64,
    pub busy_workers: i64,
    pub waiting: Quantiles,
    pub running: Quantiles,
    pub provider: Quantiles,
}

impl Bin {
    pub const fn ended(&self) -> i64 {
        self.succeeded + self.failed + self.cancelled
    }
}

#[derive(Deserialize)]
pub struct Stats {
    pub since: Option<f64>,
    /// The time of all handlers in milliseconds.
    pub handler_time: Option<f64>,
    pub rows: Vec<Counted>,
}

/// A row of `queues.stats`.
#[derive(Deserialize)]
pub struct Counted {
    pub kind: String,
    pub task_type: String,
    pub handler: Option<String>,
    pub invoked_as: Option<String>,
    pub provider: Option<String>,
    pub attempts: Option<i64>,
    pub succeeded: Option<i64>,
    pub failed: Option<i64>,
    pub cancelled: Option<i64>,
    pub errors: Option<i64>,
    pub invocations: Option<i64>,
    pub calls: Option<i64>,
    pub failed_calls: Option<i64>,
    pub status_2xx: Option<i64>,
    pub status_3xx: Option<i64>,
    pub status_4xx: Option<i64>,
    pub status_5xx: Option<i64>,
    pub no_response: Option<i64>,
    pub deferred: Option<i64>,
    pub waiting_p50: Option<f64>,
    pub waiting_p95: Option<f64>,
    pub waiting_p99: Option<f64>,
    pub running_p50: Option<f64>,
    pub running_p95: Option<f64>,
    pub running_p99: Option<f64>,
    pub running_max: Option<f64>,
    pub provider_p50: Option<f64>,
    pub provider_p95: Option<f64>,
    pub provider_p99: Option<f64>,
    pub provider_max: Option<f64>,
    /// Of a handler its time in milliseconds.
    pub weight: Option<f64>,
}

#[derive(Deserialize)]
pub struct Provider {
    pub name: String,
    pub interface: String,
    pub state: Option<String>,
    pub in_flight: Option<i64>,
    pub queued: Option<i64>,
    pub until: Option<f64>,
    pub pause_reason: Option<String>,
    pub paused_by: Option<String>,
    pub paused_why: Option<String>,
    pub breaker: Option<String>,
    pub consecutive_failures: Option<i64>,
    pub last_status: Option<i64>,
    pub last_failure_at: Option<f64>,
    pub requests_per_second: Option<f64>,
    pub burst: Option<i64>,
    pub max_in_flight: Option<i64>,
    pub breaker_threshold: Option<i64>,
}

#[derive(Deserialize)]
pub struct Tasks {
    pub number_running: i64,
    pub running: Vec<Running>,
    pub examined: i64,
    pub ended: Vec<Ended>,
}

#[derive(Deserialize)]
pub struct Running {
    pub task_id: i64,
    pub task_type: Option<String>,
    pub runs_in: String,
    pub handler: Option<String>,
    pub provider: Option<String>,
    pub since: Option<f64>,
    pub pid: Option<i64>,
    pub queue_key: Option<String>,
}

#[derive(Deserialize)]
pub struct Ended {
    pub task_id: i64,
    pub task_type: String,
    pub status: Option<String>,
    pub queue_key: Option<String>,
    pub finished_at: Option<f64>,
    pub seconds: f64,
}

#[derive(Deserialize)]
pub struct Waiting {
    pub tasks: i64,
    pub scheduled: i64,
    pub rows: Vec<Group>,
}

/// Tasks that wait for the same reason.
#[derive(Deserialize)]
pub struct Group {
    pub task_type: Option<String>,
    pub reason: String,
    pub tasks: i64,
    pub oldest: Option<f64>,
    pub until: Option<f64>,
    pub hint: Option<String>,
}

#[derive(Deserialize)]
pub struct Keys {
    pub examined: i64,
    pub rows: Vec<Key>,
}

#[derive(Deserialize)]
pub struct Key {
    pub task_type: String,
    pub queue_key: String,
    pub tasks: i64,
    pub oldest: Option<f64>,
    pub is_paused: bool,
}

#[derive(Deserialize)]
pub struct Pace {
    pub enqueued: Option<i64>,
    pub ended: i64,
}

#[derive(Deserialize)]
pub struct Settings {
    pub concurrency: Option<String>,
    pub settings: Vec<Setting>,
    pub definitions: Vec<Definition>,
}

#[derive(Deserialize)]
pub struct Setting {
    pub name: String,
    /// Null: a secret that is set.
    pub value: Option<String>,
    pub default_value: String,
    pub source: Option<String>,
}

/// The limits of a task type.
#[derive(Deserialize)]
pub struct Definition {
    pub task_type: String,
    pub max_running: Option<i64>,
    pub starts_per_second: Option<f64>,
    pub burst: Option<i64>,
    pub max_running_per_key: i64,
    pub starts_per_second_per_key: Option<f64>,
    pub priority_ages_every: Option<String>,
    pub keep_succeeded_for: Option<String>,
    pub keep_failed_for: Option<String>,
    pub redact_payload: bool,
}

#[derive(Deserialize)]
pub struct Failures {
    pub examined: i64,
    pub shapes: i64,
    pub rows: Vec<Failure>,
}

/// Failures whose messages have the same shape.
#[derive(Deserialize)]
pub struct Failure {
    pub shape: String,
    pub failures: i64,
    pub first_at: f64,
    pub last_at: f64,
    pub task_types: Option<Vec<String>>,
    pub sqlstates: Option<Vec<String>>,
    pub task_id: Option<i64>,
    pub message: String,
}

/// A process for whose locks workers wait.
#[derive(Deserialize)]
pub struct Lock {
    pub pid: i64,
    pub workers: i64,
    pub state: Option<String>,
    pub query: Option<String>,
    pub role: Option<String>,
    pub since: Option<f64>,
    pub changed_at: Option<f64>,
}
