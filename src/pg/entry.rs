//! Entry points: functions that PostgreSQL finds in this library by their symbols. SQL functions receive their
//! arguments through [`Call`], processes the argument with which they were registered.

use super::trigger::{NewRow, Transition};
use pgrx::pg_sys;

/// The arguments of one invocation of a SQL function.
pub struct Call(pg_sys::FunctionCallInfo);

impl Call {
    /// # Safety
    /// `fcinfo` comes from PostgreSQL's function manager and is used while the function runs.
    pub unsafe fn of(fcinfo: pg_sys::FunctionCallInfo) -> Call {
        Call(fcinfo)
    }

    /// The number of arguments.
    pub fn arguments(&self) -> usize {
        // SAFETY: as promised to `of`.
        usize::try_from(unsafe { (*self.0).nargs }).unwrap_or_default()
    }

    /// An argument, numbered from 0; `None` for null.
    pub fn argument(&self, number: usize) -> Option<pg_sys::Datum> {
        assert!(number < self.arguments(), "the function has no argument {number}");
        // SAFETY: as promised to `of`; the argument exists.
        unsafe { pgrx::pg_getarg_datum(self.0, number) }
    }

    /// The row that a BEFORE trigger was fired for; raises an error if the function is not called as one.
    pub fn new_row(&self) -> NewRow {
        // SAFETY: as promised to `of`.
        unsafe { NewRow::of(self.0) }
    }

    /// What a statement-level AFTER trigger of a DELETE was fired for; raises an error in any other call.
    pub fn after_delete(&self) -> Transition {
        // SAFETY: as promised to `of`.
        unsafe { Transition::of(self.0, pg_sys::TRIGGER_EVENT_DELETE) }
    }

    /// What a statement-level AFTER trigger of a TRUNCATE was fired for; raises an error in any other call.
    pub fn after_truncate(&self) -> Transition {
        // SAFETY: as promised to `of`.
        unsafe { Transition::of(self.0, pg_sys::TRIGGER_EVENT_TRUNCATE) }
    }
}

/// Exports a function of this module, `fn(&Call) -> Datum`, to SQL. As with pgrx's `#[pg_extern]`, the symbol is the name of
/// the function with `_wrapper` appended.
macro_rules! sql_function {
    ($name:ident) => {
        const _: () = {
            #[expect(unsafe_code, reason = "PostgreSQL finds the function by its symbol")]
            #[unsafe(export_name = concat!(stringify!($name), "_wrapper"))]
            #[pgrx::pg_guard]
            unsafe extern "C-unwind" fn $name(fcinfo: pgrx::pg_sys::FunctionCallInfo) -> pgrx::pg_sys::Datum {
                // SAFETY: the function manager calls this.
                let call = unsafe { $crate::pg::entry::Call::of(fcinfo) };
                self::$name(&call)
            }

            /// The calling convention of the function.
            #[expect(unsafe_code, reason = "PostgreSQL finds the record by its symbol")]
            #[unsafe(export_name = concat!("pg_finfo_", stringify!($name), "_wrapper"))]
            extern "C" fn record() -> *const pgrx::pg_sys::Pg_finfo_record {
                const V1: pgrx::pg_sys::Pg_finfo_record = pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
                &V1
            }
        };
    };
}
pub(crate) use sql_function;

/// Exports a function of this module, `fn(usize)`, as one with which a background worker starts. It receives the
/// argument with which the worker was registered.
macro_rules! process {
    ($name:ident) => {
        const _: () = {
            #[expect(unsafe_code, reason = "the background worker finds the function by its symbol")]
            #[unsafe(no_mangle)]
            #[pgrx::pg_guard]
            extern "C-unwind" fn $name(argument: pgrx::pg_sys::Datum) {
                self::$name(argument.value());
            }
        };
    };
}
pub(crate) use process;
