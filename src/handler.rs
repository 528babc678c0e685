//! Calling handlers: users' functions `name(payload jsonb)`, as the worker's role, in a
//! subtransaction and a clean session.

mod explain;
mod rule;

use crate::config;
use crate::envelope::{self, Verdict};
use crate::error::{Failure, PgError};
use crate::pg::function::Function;
use crate::pg::jsonb_field::View;
use crate::pg::jsonb_size::is_longer;
use crate::pg::spi::{self, Plan};
use crate::pg::{activity, command, ident, interrupt, jsonb, log, session, timeout, transaction};
use crate::shared::{Admission, Terms};
use crate::slot::MySlot;
use pgrx::{PgSqlErrorCode, pg_sys};
use rule::Checked;
use std::collections::HashMap;
use std::fmt;

/// Plans kept at most; handler names are user data.
const MAX_PLANS: usize = 256;
/// Plans for longer names (in bytes) are not kept. Spaces are allowed in names, any number of them.
const MAX_KEPT_NAME: usize = 512;

/// Why a task's run stops without an end: its transaction is rolled back.
pub enum Stop {
    /// A serialization failure or deadlock: the whole task is to be run again.
    Repeat,
    Cancelled,
    /// The provider takes no further request now.
    Later(Admission, Terms),
}

/// What a handler returned.
pub struct Returned {
    /// The jsonb value; lives as long as the transaction.
    pub value: pg_sys::Datum,
}

impl Returned {
    pub fn verdict(&self) -> Verdict {
        if jsonb::is_empty_object(self.value) {
            return Verdict::Success;
        }
        match envelope::judge(&self.view()) {
            Verdict::Unsuccessful(reason) if config::UNSUCCESSFUL_IS_FAILURE.is_on() => {
                Verdict::Failure(reason)
            }
            verdict => verdict,
        }
    }

    pub fn view(&self) -> View {
        View::of(self.value)
    }
}

/// A call of a handler.
pub struct Call<'a> {
    /// `db_function`, `before_handler`, …
    pub kind: &'static str,
    /// As the payload names it.
    pub name: &'a str,
    pub payload: pg_sys::Datum,
    pub task_id: i64,
    pub task_type: &'a str,
    /// Whether [`Stop::Repeat`] is wanted; otherwise such an error is a failure like any other.
    pub may_repeat: bool,
}

/// What messages call it.
impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.kind != self.task_type {
            write!(f, "{} ", self.task_type)?;
        }
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// What is kept of a handler.
struct Kept {
    plan: Plan,
    /// Its name, quoted where needed.
    name: String,
    /// The function that the plan calls.
    callee: pg_sys::Oid,
    /// As of when the function was found to be a handler.
    checked: Checked,
    /// The function, if it can be called without the plan; looked up when it is needed.
    function: Option<Function>,
    looked: bool,
}

impl Kept {
    /// The function, as long as it is certain that the plan would call it.
    fn function(&mut self) -> Option<&Function> {
        // A library that audits functions records them as parts of statements.
        if command::is_access_watched() {
            return None;
        }
        if !self.is_current() || self.checked != Checked::now() {
            return None;
        }
        if !std::mem::replace(&mut self.looked, true) {
            self.function = Function::find(&self.name).filter(|function| function.oid() == self.callee);
        }
        self.function.as_ref().filter(|function| function.may_be_called())
    }

    /// Calls the function; what it returned, where null is `None`. `None` at all: the plan has to be used.
    fn call(&mut self, payload: pg_sys::Datum) -> Option<Option<pg_sys::Datum>> {
        let function = self.function()?;
        let value = function.call(payload);
        if function.is_large() {
            self.forget_function();
        }
        Some(value)
    }

    /// False if the name may mean something else by now.
    fn is_current(&self) -> bool {
        self.plan.is_valid() && self.function.as_ref().is_none_or(Function::is_on_path)
    }

    /// What the function keeps between calls may be half done.
    fn forget_function(&mut self) {
        self.function.take().into_iter().for_each(Function::free);
        self.looked = false;
    }

    fn free(mut self) {
        self.forget_function();
        self.plan.free();
    }
}

/// Calls handlers and keeps their plans.
pub struct Handlers {
    kept: HashMap<String, Kept>,
    /// The extension's owner.
    owner: pg_sys::Oid,
    /// The role that handlers run as.
    role: String,
}

impl Handlers {
    pub fn new(owner: pg_sys::Oid, role: String) -> Self {
        Handlers { kept: HashMap::new(), owner, role }
    }

    /// Calls a handler. An error that it raised has undone its work, and only that.
    pub fn call(&mut self, slot: MySlot, call: &Call) -> Result<Result<Returned, Failure>, Stop> {
        activity::running(format_args!("{call} (task {})", call.task_id));
        interrupt::forget_cancel();
        if call.kind != call.task_type {
            slot.set_handler(call.name);
        }
        // A cancel that came before this point has been forgotten as a signal, not as a mark.
        if slot.is_cancelled() {
            return Err(Stop::Cancelled);
        }

        let limit = config::HANDLER_TIMEOUT.duration();
        let result = transaction::savepoint(|| {
            session::handler_scope(|| {
                timeout::arm(limit);
                let returned = self.execute(call);
                check_size(&returned);
                transaction::fire_deferred_triggers();
                returned
            })
        });
        let timed_out = timeout::disarm();
        session::forget_handler();
        if result.is_err()
            && let Some(kept) = self.kept.get_mut(call.name)
        {
            kept.forget_function();
        }
        if slot.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        match result {
            Ok(returned) => Ok(Ok(returned)),
            Err(error) if error.is_transient() && call.may_repeat => Err(Stop::Repeat),
            Err(error) => {
                let error = self.explain(call, error, timed_out);
                Ok(Err(Failure::caught(&call.to_string(), error).of_handler(call.name)))
            }
        }
    }

    fn execute(&mut self, call: &Call) -> Returned {
        let kept = self.kept.get_mut(call.name);
        let value = match kept.and_then(|kept| kept.call(call.payload)) {
            Some(value) => value,
            None => self.execute_plan(call),
        };
        Returned { value: value.unwrap_or_else(|| jsonb::from_text("{}")) }
    }

    fn execute_plan(&mut self, call: &Call) -> Option<pg_sys::Datum> {
        spi::connected(|| {
            let plan = self.plan(call.name);
            let rows = plan.execute(&[Some(call.payload)], |row| row.keep(1));
            rows.into_iter().next().flatten()
        })
    }

    fn plan(&mut self, name: &str) -> Plan {
        let now = Checked::now();
        if let Some(kept) = self.kept.get_mut(name).filter(|kept| kept.is_current()) {
            if kept.checked != now {
                rule::check(kept.plan, &kept.name, self.owner, &self.role);
                kept.checked = now;
            }
            return kept.plan;
        }
        self.forget(name);
        let quoted: Vec<String> = ident::parse(name).iter().map(|part| ident::quote(part)).collect();
        let quoted = quoted.join(".");
        let sql = format!("select {quoted}{}", explain::STATEMENT);
        let plan = Plan::prepare_once(&sql, &[pg_sys::JSONBOID]);
        let callee = rule::check(plan, &quoted, self.owner, &self.role);
        if name.len() > MAX_KEPT_NAME {
            return plan;
        }
        plan.keep();
        if self.kept.len() >= MAX_PLANS
            && let Some(any) = self.kept.keys().next().cloned()
        {
            self.forget(&any);
        }
        let kept = Kept { plan, name: quoted, callee, checked: now, function: None, looked: false };
        self.kept.insert(name.to_owned(), kept);
        plan
    }

    fn forget(&mut self, name: &str) {
        self.kept.remove(name).into_iter().for_each(Kept::free);
    }
}

/// Raises if a result is larger than a payload may be, as text.
fn check_size(returned: &Returned) {
    let limit = config::MAX_PAYLOAD_SIZE.get();
    if is_longer(returned.value, limit as usize) {
        log::refuse(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("it returned more than {limit} bytes as text; pg_errand.max_payload_size allows no more"),
            "Return less, or raise pg_errand.max_payload_size.".into(),
        );
    }
}

/// Builds a handler's argument: the task's payload, and what came of it under another name.
///
/// # Errors
/// When the result would be larger than jsonb may be.
pub fn build(
    payload: pg_sys::Datum,
    name: &str,
    value: impl FnOnce() -> pg_sys::Datum,
) -> Result<pg_sys::Datum, PgError> {
    transaction::savepoint(|| jsonb::object([("original_payload", payload), (name, value())]))
}
