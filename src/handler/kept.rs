//! What is cached of a handler between its invocations.

use super::rule::Checked;
use crate::pg::command;
use crate::pg::function::Function;
use crate::pg::spi::Plan;
use pgrx::pg_sys;

/// The cached plan of a handler, and what is known of its function.
pub(super) struct Kept {
    pub plan: Plan,
    /// The function's name, quoted where needed.
    pub name: String,
    /// The function that the plan calls.
    pub callee: pg_sys::Oid,
    /// What was in effect when the function was found to be a handler.
    pub checked: Checked,
    /// The function, if it can be called without the plan. It is looked up when it is needed.
    function: Option<Function>,
    /// Whether the function was looked up.
    is_looked_up: bool,
}

impl Kept {
    pub fn new(plan: Plan, name: String, callee: pg_sys::Oid, checked: Checked) -> Self {
        Kept { plan, name, callee, checked, function: None, is_looked_up: false }
    }

    /// The function, if it is certain that the plan would call it.
    fn function(&mut self) -> Option<&Function> {
        // A library that audits function calls expects them to be parts of statements.
        if command::is_access_watched() {
            return None;
        }
        if !self.is_current() || self.checked != Checked::now() {
            return None;
        }
        if !std::mem::replace(&mut self.is_looked_up, true) {
            self.function = Function::find(&self.name).filter(|function| function.oid() == self.callee);
        }
        self.function.as_ref().filter(|function| function.may_be_called())
    }

    /// Invokes the function without the plan and returns its result, `None` for null. Returns `None` instead if the
    /// plan has to be used.
    pub fn invoke(&mut self, payload: pg_sys::Datum) -> Option<Option<pg_sys::Datum>> {
        let function = self.function()?;
        let value = function.call(payload);
        if function.is_large() {
            self.forget_function();
        }
        Some(value)
    }

    /// False if the name may refer to another function by now.
    pub fn is_current(&self) -> bool {
        self.plan.is_valid() && self.function.as_ref().is_none_or(Function::is_on_path)
    }

    /// Discards the function along with what it keeps between calls, which an error may have left inconsistent.
    pub fn forget_function(&mut self) {
        self.function.take().into_iter().for_each(Function::free);
        self.is_looked_up = false;
    }

    pub fn free(mut self) {
        self.forget_function();
        self.plan.free();
    }
}
