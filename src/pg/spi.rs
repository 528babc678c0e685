//! Statements that are executed through SPI. They are prepared once and kept.

use super::trigger::Transition;
use super::{heap, session};
use pg_errand_queue::Address;
use pgrx::{FromDatum, pg_sys};
use std::cell::Cell;
use std::ffi::{CStr, CString};

/// An argument of a statement; `None` is null.
pub type Arg = Option<pg_sys::Datum>;

/// A statement of the extension's own, from a .sql file. It is prepared when it is first executed in a process, and
/// always executed with the extension's own settings.
pub struct Statement {
    sql: &'static str,
    types: &'static [pg_sys::BuiltinOid],
    plan: Cell<Option<Plan>>,
}

// SAFETY: only the main thread executes SQL (pgrx checks that in every call).
unsafe impl Sync for Statement {}

impl Statement {
    /// `types` are those of the parameters `$1`, `$2` …
    pub const fn new(sql: &'static str, types: &'static [pg_sys::BuiltinOid]) -> Self {
        Statement { sql, types, plan: Cell::new(None) }
    }

    /// Executes the statement and maps each row of its result. An error is raised.
    pub fn rows<R>(&self, args: &[Arg], map: impl FnMut(&Row) -> R) -> Vec<R> {
        self.with_plan(|plan| plan.execute(args, map))
    }

    /// [`Statement::rows`] of a query with a new snapshot, since the snapshot of the current transaction may be old.
    pub fn rows_as_of_now<R>(&self, args: &[Arg], map: impl FnMut(&Row) -> R) -> Vec<R> {
        // SAFETY: within a transaction; used at once.
        let snapshot = unsafe { pg_sys::GetLatestSnapshot() };
        self.with_plan(|plan| plan.execute_with(args, snapshot, true, map))
    }

    /// [`Statement::row`] with the settings of the session.
    pub fn row_as_is<R>(&self, args: &[Arg], map: impl FnMut(&Row) -> R) -> Option<R> {
        self.rows_as_is(args, map).pop()
    }

    /// [`Statement::rows`] with the settings of the session.
    pub fn rows_as_is<R>(&self, args: &[Arg], map: impl FnMut(&Row) -> R) -> Vec<R> {
        connected(|| self.plan().execute(args, map))
    }

    fn with_plan<R>(&self, body: impl FnOnce(Plan) -> R) -> R {
        session::with_own_settings(|| connected(|| body(self.plan())))
    }

    /// [`Statement::rows`] for at most one row.
    pub fn row<R>(&self, args: &[Arg], map: impl FnMut(&Row) -> R) -> Option<R> {
        self.rows(args, map).pop()
    }

    /// [`Statement::row`], except that `trigger::fire_afterwards` fires the AFTER triggers of the statement.
    pub fn row_leaving_triggers<R>(&self, args: &[Arg], map: impl FnMut(&Row) -> R) -> Option<R> {
        self.with_plan(|plan| plan.execute_with(args, std::ptr::null_mut(), false, map)).pop()
    }

    /// Executes the statement for its effect in a trigger function, whose transition tables it may read. The AFTER
    /// triggers of the statement are fired by `trigger::fire_afterwards`.
    pub fn run_in_trigger(&self, transition: &Transition) {
        self.rows_in_trigger(transition, |_| ());
    }

    /// As [`Statement::run_in_trigger`]; returns the rows.
    pub fn rows_in_trigger<R>(&self, transition: &Transition, map: impl FnMut(&Row) -> R) -> Vec<R> {
        session::with_own_settings(|| {
            connected(|| {
                transition.register();
                self.plan().execute_with(&[], std::ptr::null_mut(), false, map)
            })
        })
    }

    /// Executes the statement for its effect; returns the number of rows affected.
    pub fn run(&self, args: &[Arg]) -> u64 {
        self.with_plan(|plan| {
            plan.execute(args, |_| ());
            // SAFETY: set by the execution right before.
            unsafe { pg_sys::SPI_processed }
        })
    }

    fn plan(&self) -> Plan {
        let plan = self.plan.get().unwrap_or_else(|| {
            let types: Vec<pg_sys::Oid> = self.types.iter().map(|t| t.value()).collect();
            Plan::prepare(self.sql, &types)
        });
        self.plan.set(Some(plan));
        plan
    }
}

/// An SPI plan.
#[derive(Clone, Copy)]
pub struct Plan(pg_sys::SPIPlanPtr);

impl Plan {
    /// Prepares and keeps `sql`; within [`connected`].
    pub fn prepare(sql: &str, types: &[pg_sys::Oid]) -> Plan {
        let plan = Plan::prepare_once(sql, types);
        plan.keep();
        plan
    }

    /// Keeps a plan of [`Plan::prepare_once`] beyond its connection.
    pub fn keep(self) {
        // SAFETY: a plan of this SPI connection.
        unsafe { pg_sys::SPI_keepplan(self.0) };
    }

    /// Prepares `sql` for the current connection only; within [`connected`].
    pub fn prepare_once(sql: &str, types: &[pg_sys::Oid]) -> Plan {
        let text = CString::new(sql).expect("SQL text holds no NUL");
        let mut types = types.to_vec();
        // SAFETY: connected to SPI; the text and types are copied.
        unsafe {
            let plan = pg_sys::SPI_prepare(text.as_ptr(), types.len() as i32, types.as_mut_ptr());
            let code = pg_sys::SPI_result;
            assert!(!plan.is_null(), "SPI_prepare failed: {code}");
            Plan(plan)
        }
    }

    /// Executes the plan; within [`connected`].
    pub fn execute<R>(self, args: &[Arg], map: impl FnMut(&Row) -> R) -> Vec<R> {
        self.execute_with(args, std::ptr::null_mut(), true, map)
    }

    /// A null `snapshot` means a new one, and that the plan may write.
    fn execute_with<R>(
        self,
        args: &[Arg],
        snapshot: pg_sys::Snapshot,
        fire_triggers: bool,
        mut map: impl FnMut(&Row) -> R,
    ) -> Vec<R> {
        let mut values: Vec<pg_sys::Datum> =
            args.iter().map(|arg| arg.unwrap_or(pg_sys::Datum::null())).collect();
        let nulls: Vec<std::os::raw::c_char> =
            args.iter().map(|arg| if arg.is_some() { b' ' } else { b'n' } as _).collect();
        // SAFETY: connected to SPI; as many values as the plan has parameters; the tuple table is
        // valid until the next SPI call on this level.
        unsafe {
            let own = std::ptr::null_mut();
            let code = pg_sys::SPI_execute_snapshot(
                self.0,
                values.as_mut_ptr(),
                nulls.as_ptr(),
                snapshot,
                own,
                !snapshot.is_null(),
                fire_triggers,
                0,
            );
            assert!(code >= 0, "SPI_execute_snapshot failed: {code}");
            let table = pg_sys::SPI_tuptable;
            if table.is_null() {
                return Vec::new();
            }
            (0..pg_sys::SPI_processed as usize)
                .map(|i| map(&Row { tuple: *(*table).vals.add(i), shape: (*table).tupdesc }))
                .collect()
        }
    }

    /// The function that the plan of a `select name($1)` calls; `None` if the name does not refer to a function.
    pub fn callee(self) -> Option<pg_sys::Oid> {
        // SAFETY: a valid plan of one query, whose parse analysis SPI has done.
        unsafe {
            let sources = pg_sys::SPI_plan_get_plan_sources(self.0);
            let source = pg_sys::list_nth(sources, 0).cast::<pg_sys::CachedPlanSource>();
            let queries = (*source).query_list;
            if queries.is_null() {
                return None;
            }
            super::callee::of_query(pg_sys::list_nth(queries, 0).cast())
        }
    }

    /// False if objects to which the plan refers have changed since it was made.
    pub fn is_valid(self) -> bool {
        // SAFETY: a kept plan of ours.
        unsafe { pg_sys::SPI_plan_is_valid(self.0) }
    }

    /// Frees the plan, which must not be used any more.
    pub fn free(self) {
        // SAFETY: a kept plan of ours, freed once.
        unsafe {
            pg_sys::SPI_freeplan(self.0);
        }
    }
}

/// Runs `body` connected to SPI. After an ERROR, the end of the (sub)transaction disconnects.
pub fn connected<R>(body: impl FnOnce() -> R) -> R {
    // SAFETY: within a transaction; connect and finish are paired.
    unsafe {
        pg_sys::SPI_connect();
        let value = body();
        pg_sys::SPI_finish();
        value
    }
}

/// A text value, copied into Rust.
pub fn text(datum: pg_sys::Datum) -> Option<String> {
    // SAFETY: for text columns of the extension's tables.
    unsafe { String::from_datum(datum, false) }
}

/// An argument of type timestamptz, from microseconds since 2000-01-01.
pub fn timestamp(microseconds: i64) -> Arg {
    Some(pg_sys::Datum::from(microseconds))
}

/// A column of a result: its name, or its number from 1.
pub trait ResultColumn: Copy {
    fn number(self, row: &Row) -> i32;
}

impl ResultColumn for i32 {
    fn number(self, _: &Row) -> i32 {
        self
    }
}

impl ResultColumn for &CStr {
    fn number(self, row: &Row) -> i32 {
        // SAFETY: the row type of the current tuple table.
        let number = unsafe { pg_sys::SPI_fnumber(row.shape, self.as_ptr()) };
        assert!(number > 0, "the result has no column {self:?}");
        number
    }
}

/// A row of a result.
pub struct Row {
    tuple: pg_sys::HeapTuple,
    shape: pg_sys::TupleDesc,
}

impl Row {
    /// A column's value, copied into Rust; `None` for null.
    pub fn get<T: FromDatum>(&self, column: impl ResultColumn) -> Option<T> {
        let (datum, null) = self.datum(column);
        // SAFETY: the statements of this crate request the type that their column has.
        unsafe { T::from_datum(datum, null) }
    }

    /// A column's jsonb (or other varlena), copied so that it lives as long as the transaction.
    pub fn keep(&self, column: impl ResultColumn) -> Arg {
        let (datum, null) = self.datum(column);
        // SAFETY: varlena; SPI_datumTransfer copies into the context from before SPI_connect.
        (!null).then(|| unsafe { pg_sys::SPI_datumTransfer(datum, false, -1) })
    }

    /// A timestamptz, for another statement.
    pub fn keep_time(&self, column: impl ResultColumn) -> Arg {
        let (datum, null) = self.datum(column);
        (!null).then_some(datum)
    }

    /// An interval, copied so that it lives as long as the transaction.
    pub fn keep_interval(&self, column: impl ResultColumn) -> Arg {
        let (datum, null) = self.datum(column);
        let size = size_of::<pg_sys::Interval>() as i32;
        // SAFETY: an interval is passed by reference; SPI_datumTransfer copies into the context from before SPI_connect.
        (!null).then(|| unsafe { pg_sys::SPI_datumTransfer(datum, false, size) })
    }

    /// A `ctid`.
    pub fn address(&self, column: impl ResultColumn) -> Option<Address> {
        heap::address(&self.get(column)?)
    }

    fn datum(&self, column: impl ResultColumn) -> (pg_sys::Datum, bool) {
        let (column, mut null) = (column.number(self), false);
        // SAFETY: a tuple of the current tuple table.
        let datum = unsafe { pg_sys::SPI_getbinval(self.tuple, self.shape, column, &mut null) };
        (datum, null)
    }
}
