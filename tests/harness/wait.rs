//! Waiting for conditions.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use postgres::{Client, SimpleQueryMessage};

/// The time limit for a condition. `PG_ERRAND_TEST_PATIENCE`, such as `3` or `0.5`, is a factor for it.
const DEADLINE: Duration = Duration::from_secs(20);
/// The pause between two checks of a condition.
const STEP: Duration = Duration::from_millis(5);

/// What a check of a condition can return: `bool`, `Option` (`Some` fulfils it), or `Result`, whose error says what was
/// found instead.
pub trait Look {
    /// The value that is returned once the condition holds.
    type Found;

    /// Returns the value, or a description of what was found instead.
    fn found(self) -> Result<Self::Found, String>;
}

impl Look for bool {
    type Found = ();

    fn found(self) -> Result<(), String> {
        self.then_some(()).ok_or_else(|| "false".to_owned())
    }
}

impl<T> Look for Option<T> {
    type Found = T;

    fn found(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: Debug> Look for Result<T, E> {
    type Found = T;

    fn found(self) -> Result<T, String> {
        self.map_err(|seen| format!("{seen:?}"))
    }
}

/// Checks a condition every 5 ms until it holds, and returns what was found.
///
/// # Panics
/// The condition does not hold within the time limit. The message names it and what was found last.
#[track_caller]
pub fn eventually<L: Look>(what: &str, mut look: impl FnMut() -> L) -> L::Found {
    let patience = patience(DEADLINE);
    let deadline = Instant::now() + patience;
    loop {
        match look().found() {
            Ok(found) => return found,
            Err(seen) if Instant::now() >= deadline => {
                panic!("not within {patience:?}: {what}; last seen: {seen}")
            }
            Err(_) => std::thread::sleep(STEP),
        }
    }
}

/// Runs a query every 5 ms until the first column of its first row is `expected`, as text.
///
/// # Panics
/// That does not happen within the deadline, or the query fails.
#[track_caller]
pub fn wait_until_sql(client: &mut Client, sql: &str, expected: &str) {
    let what = format!("{sql} returns {expected}");
    eventually(&what, || {
        let seen = first_value(client, sql);
        if seen == expected { Ok(()) } else { Err(seen) }
    });
}

/// Checks a condition every 5 ms until it holds, and returns false if it does not within the time limit. It is for
/// clean-up, which must not panic; tests use [`eventually`].
pub fn within(limit: Duration, mut look: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !look() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(STEP);
    }
    true
}

/// Returns the time limit for an operation that takes less than `deadline` on an idle machine.
pub fn patience(deadline: Duration) -> Duration {
    let factor = std::env::var("PG_ERRAND_TEST_PATIENCE").ok();
    match factor.map(|factor| factor.parse::<f64>()) {
        None => deadline,
        Some(Ok(factor)) if factor > 0.0 => deadline.mul_f64(factor),
        Some(_) => panic!("PG_ERRAND_TEST_PATIENCE has to be a number above 0"),
    }
}

#[track_caller]
fn first_value(client: &mut Client, sql: &str) -> String {
    let messages = client.simple_query(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    match row {
        None => "(no row)".to_owned(),
        Some(row) => row.get(0).unwrap_or("(null)").to_owned(),
    }
}
