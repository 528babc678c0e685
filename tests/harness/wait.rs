//! Waiting for conditions. No test sleeps and hopes.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use postgres::{Client, SimpleQueryMessage};

/// How long a condition may take, unless `PG_ERRAND_TEST_PATIENCE` (a factor, such as `3` or `0.5`) says otherwise.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long to wait between two looks.
const STEP: Duration = Duration::from_millis(5);

/// What a look at a condition can return: `bool`, `Option` (`Some` fulfils it), or `Result`, whose error says what was
/// seen instead.
pub trait Look {
    /// What is there once the condition holds.
    type Found;

    /// What was found, or a description of what was seen instead.
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

/// Looks every 5 ms until the condition holds, and returns what was found.
///
/// # Panics
/// The condition does not hold within the deadline; the message names it and what was seen last.
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

/// Looks every 5 ms until the condition holds; false if it does not within the limit. For clean-up, which must not
/// panic; tests use [`eventually`].
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

/// How long something may take that takes less than `deadline` on an idle machine.
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
