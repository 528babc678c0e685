//! One invocation of a handler, and its result.

use crate::config;
use crate::envelope::{self, Reason, Verdict};
use crate::pg::jsonb;
use crate::pg::jsonb_field::View;
use crate::shared::{Admission, Terms};
use pgrx::pg_sys;
use std::fmt;

const COUNTS_AS_FAILURE: &str = "The handler has returned it. Only an error would be a failure if pg_errand.unsuccessful_is_failure were off.";

/// Why a run of a task stops and its transaction is rolled back, without an end of the task.
pub enum Stop {
    /// A serialization failure or deadlock, after which the whole task is run again.
    Repeat,
    Cancelled,
    /// The provider accepts no further request now.
    Later(Admission, Terms),
}

/// What a handler returned.
pub struct Returned {
    /// The jsonb value, which lives as long as the transaction.
    pub value: pg_sys::Datum,
}

impl Returned {
    pub fn verdict(&self) -> Verdict {
        if jsonb::is_empty_object(self.value) {
            return Verdict::Success;
        }
        match envelope::judge(&self.view()) {
            Verdict::Unsuccessful(reason) if config::UNSUCCESSFUL_IS_FAILURE.is_on() => {
                Verdict::Failure(Reason::new(reason, COUNTS_AS_FAILURE))
            }
            verdict => verdict,
        }
    }

    pub fn view(&self) -> View {
        View::of(self.value)
    }
}

/// One invocation of a handler.
pub struct Invocation<'a> {
    /// The key of the payload that names the handler: `db_function`, `before_handler` and so on.
    pub role: &'static str,
    /// The name of the function, as in the payload.
    pub name: &'a str,
    pub payload: pg_sys::Datum,
    pub task_id: i64,
    pub task_type: &'a str,
    /// Whether a serialization failure is [`Stop::Repeat`]; otherwise it is a failure like any other.
    pub may_repeat: bool,
}

/// The name of the invocation in messages.
impl fmt::Display for Invocation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.role != self.task_type {
            write!(f, "{} ", self.task_type)?;
        }
        write!(f, "{} {}", self.role, self.name)
    }
}
