//! Invokes handlers: users' functions `name(payload jsonb)`, as the role of the workers, in a subtransaction and a
//! clean session.

mod explain;
mod invocation;
mod kept;
mod rule;

use crate::config;
use crate::error::{Failure, PgError};
use crate::pg::jsonb_size::is_longer;
use crate::pg::spi::{self, Plan};
use crate::pg::{activity, ident, interrupt, jsonb, log, session, timeout, transaction};
use crate::slot::MySlot;
use crate::stats;
use explain::Explanation;
pub use invocation::{Invocation, Returned, Stop};
use kept::Kept;
use pgrx::{PgSqlErrorCode, pg_sys};
use rule::Checked;
use std::collections::HashMap;
use std::time::Instant;

/// The maximum number of plans that are kept, since the names of handlers are user data.
const MAX_PLANS: usize = 256;
/// The maximum length of a name whose plan is kept, in bytes. A name may contain any number of spaces.
const MAX_KEPT_NAME: usize = 512;

/// Invokes handlers and keeps their plans.
pub struct Handlers {
    kept: HashMap<String, Kept>,
    /// The extension's owner.
    owner: pg_sys::Oid,
    /// The database role that handlers run as.
    role: String,
}

impl Handlers {
    pub fn new(owner: pg_sys::Oid, role: String) -> Self {
        Handlers { kept: HashMap::new(), owner, role }
    }

    /// Invokes a handler. If it raises an error, only its own effects are undone.
    pub fn invoke(
        &mut self,
        slot: MySlot,
        invocation: &Invocation,
    ) -> Result<Result<Returned, Failure>, Stop> {
        activity::running(format_args!("{invocation} (task {})", invocation.task_id));
        interrupt::forget_cancel();
        if invocation.role != invocation.task_type {
            slot.set_handler(invocation.name);
        }
        // The signal of an earlier cancellation has just been discarded, but the cancellation itself is still recorded.
        if slot.is_cancelled() {
            return Err(Stop::Cancelled);
        }

        let limit = config::HANDLER_TIMEOUT.duration();
        let start = Instant::now();
        let result = transaction::savepoint(|| {
            session::handler_scope(|| {
                timeout::arm(limit);
                let returned = self.execute(invocation);
                check_size(&returned);
                transaction::fire_deferred_triggers();
                returned
            })
        });
        let timed_out = timeout::disarm();
        let Invocation { role, name, task_type, .. } = invocation;
        stats::count_invocation(task_type, role, name, start.elapsed(), result.is_err());
        session::forget_handler();
        if result.is_err()
            && let Some(kept) = self.kept.get_mut(invocation.name)
        {
            kept.forget_function();
        }
        if slot.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        match result {
            Ok(returned) => Ok(Ok(returned)),
            Err(error) if error.is_transient() && invocation.may_repeat => Err(Stop::Repeat),
            Err(error) => {
                let error = self.explanation(invocation, timed_out).explain(error);
                Ok(Err(Failure::caught(&invocation.to_string(), error).of_handler(invocation.name)))
            }
        }
    }

    /// What is known of an invocation that has failed.
    fn explanation<'a>(&'a self, invocation: &'a Invocation, timed_out: bool) -> Explanation<'a> {
        let callee = self.kept.get(invocation.name).map(|kept| kept.callee);
        let is_first_step = ["db_function", "before_handler"].contains(&invocation.role);
        Explanation {
            name: invocation.name,
            callee,
            owner: self.owner,
            role: &self.role,
            retriable: is_first_step.then_some(invocation.task_id),
            timed_out,
        }
    }

    fn execute(&mut self, invocation: &Invocation) -> Returned {
        let kept = self.kept.get_mut(invocation.name);
        let value = match kept.and_then(|kept| kept.invoke(invocation.payload)) {
            Some(value) => value,
            None => self.execute_plan(invocation),
        };
        Returned { value: value.unwrap_or_else(|| jsonb::from_text("{}")) }
    }

    fn execute_plan(&mut self, invocation: &Invocation) -> Option<pg_sys::Datum> {
        spi::connected(|| {
            let plan = self.plan(invocation.name);
            let rows = plan.execute(&[Some(invocation.payload)], |row| row.keep(1));
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
        let sql = format!("select {quoted}{}", explain::CAST);
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
        self.kept.insert(name.to_owned(), Kept::new(plan, quoted, callee, now));
        plan
    }

    fn forget(&mut self, name: &str) {
        self.kept.remove(name).into_iter().for_each(Kept::free);
    }
}

/// Raises an error if a result is larger as text than a payload may be.
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

/// Builds the argument of a task's last handler: the task's payload, and its result under `name`.
///
/// # Errors
/// If the argument would be larger than a jsonb may be.
pub fn build(
    payload: pg_sys::Datum,
    name: &str,
    value: impl FnOnce() -> pg_sys::Datum,
) -> Result<pg_sys::Datum, PgError> {
    transaction::savepoint(|| jsonb::object([("original_payload", payload), (name, value())]))
}
