//! The rows of a trigger call, without conversion to Rust values, and the privileges with which users' triggers run.

use super::{catalog, log};
use pgrx::{FromDatum, IntoDatum, JsonB, PgSqlErrorCode, pg_sys, varsize_any};
use std::ffi::CStr;

/// The new row of a BEFORE trigger.
pub struct NewRow {
    tuple: pg_sys::HeapTuple,
    /// The row before an update.
    old: Option<pg_sys::HeapTuple>,
    shape: pg_sys::TupleDesc,
}

impl NewRow {
    /// The row of a trigger call. Raises an error if `fcinfo` is a call of another type.
    ///
    /// # Safety
    /// `fcinfo` comes from PostgreSQL's function manager.
    pub(super) unsafe fn of(fcinfo: pg_sys::FunctionCallInfo) -> NewRow {
        // SAFETY: TRIGGER_FIRED_* of commands/trigger.h, on the caller's promise.
        unsafe {
            let data = (*fcinfo).context.cast::<pg_sys::TriggerData>();
            if data.is_null() || (*data.cast::<pg_sys::Node>()).type_ != pg_sys::NodeTag::T_TriggerData {
                refuse("this function is a trigger of queues.task");
            }
            let event = (*data).tg_event;
            let operation = event & pg_sys::TRIGGER_EVENT_OPMASK;
            let before_row = event & pg_sys::TRIGGER_EVENT_ROW != 0
                && event & pg_sys::TRIGGER_EVENT_TIMINGMASK == pg_sys::TRIGGER_EVENT_BEFORE;
            let writes =
                operation == pg_sys::TRIGGER_EVENT_INSERT || operation == pg_sys::TRIGGER_EVENT_UPDATE;
            if !(before_row && writes) {
                refuse("this function is a trigger of queues.task, before each inserted or updated row");
            }
            let new = (*data).tg_newtuple;
            let (tuple, old) = match new.is_null() {
                true => ((*data).tg_trigtuple, None),
                false => (new, Some((*data).tg_trigtuple)),
            };
            NewRow { tuple, old, shape: (*(*data).tg_relation).rd_att }
        }
    }

    /// The value of a column; `None` for null, or if the table has no such column of this type.
    pub fn get<T: FromDatum + IntoDatum>(&self, column: &CStr) -> Option<T> {
        // SAFETY: the row's own tuple.
        unsafe { self.column(self.tuple, column) }
    }

    /// The value of a column before an update; `None` also if the row is inserted.
    pub fn earlier<T: FromDatum + IntoDatum>(&self, column: &CStr) -> Option<T> {
        // SAFETY: the row's own tuple.
        self.old.and_then(|old| unsafe { self.column(old, column) })
    }

    unsafe fn column<T: FromDatum + IntoDatum>(&self, tuple: pg_sys::HeapTuple, name: &CStr) -> Option<T> {
        // SAFETY: a valid tuple with its own descriptor; the column has the requested type.
        unsafe {
            let mut null = false;
            let datum = pg_sys::heap_getattr(tuple, self.number::<T>(name)?, self.shape, &mut null);
            T::from_datum(datum, null)
        }
    }

    /// The jsonb in a column; `None` if it is null or unchanged by the update, or if the table has no such column of
    /// this type.
    pub fn new_jsonb(&self, column: &CStr) -> Option<pg_sys::Datum> {
        // SAFETY: valid tuples with their descriptor; values are compared as they are stored.
        unsafe {
            let number = self.number::<JsonB>(column)?;
            let of = |tuple| {
                let mut null = false;
                let datum = pg_sys::heap_getattr(tuple, number, self.shape, &mut null);
                (!null).then_some(datum)
            };
            let stored = |datum: pg_sys::Datum| {
                let value: *const pg_sys::varlena = datum.cast_mut_ptr();
                std::slice::from_raw_parts(value.cast::<u8>(), varsize_any(value))
            };
            let is_same = |new, old| stored(new) == stored(old);
            let new = of(self.tuple)?;
            let old = self.old.and_then(of);
            old.is_none_or(|old| !is_same(new, old)).then_some(new)
        }
    }

    /// The number of a column; `None` if the table has no such column of this type.
    fn number<T: IntoDatum>(&self, column: &CStr) -> Option<i32> {
        // SAFETY: a valid descriptor.
        let (number, found) = unsafe {
            let number = pg_sys::SPI_fnumber(self.shape, column.as_ptr());
            (number, if number > 0 { pg_sys::SPI_gettypeid(self.shape, number) } else { pg_sys::InvalidOid })
        };
        (number > 0 && found == T::type_oid()).then_some(number)
    }

    /// The row with null in a column of this type. It is unchanged if the table has no such column.
    pub fn with_null<T: IntoDatum>(self, column: &CStr) -> NewRow {
        let Some(number) = self.number::<T>(column) else { return self };
        let (mut number, mut value, mut is_null) = (number, pg_sys::Datum::null(), true);
        // SAFETY: the row's own tuple with its descriptor; one column, whose number exists.
        let tuple = unsafe {
            pg_sys::heap_modify_tuple_by_cols(
                self.tuple,
                self.shape,
                1,
                &raw mut number,
                &raw mut value,
                &raw mut is_null,
            )
        };
        NewRow { tuple, ..self }
    }

    /// The result of the trigger.
    pub fn into_datum(self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.tuple)
    }
}

/// The rows of a statement-level AFTER trigger of `queues.task`.
pub struct Transition(*mut pg_sys::TriggerData);

impl Transition {
    /// The rows of a trigger call after this operation (`TRIGGER_EVENT_…`). Raises an error if `fcinfo` is a call of
    /// another type.
    ///
    /// # Safety
    /// `fcinfo` comes from PostgreSQL's function manager.
    pub(super) unsafe fn of(fcinfo: pg_sys::FunctionCallInfo, operation: u32) -> Transition {
        // SAFETY: TRIGGER_FIRED_* of commands/trigger.h, on the caller's promise.
        unsafe {
            let data = (*fcinfo).context.cast::<pg_sys::TriggerData>();
            let called = !data.is_null()
                && (*data.cast::<pg_sys::Node>()).type_ == pg_sys::NodeTag::T_TriggerData
                && (*data).tg_event & pg_sys::TRIGGER_EVENT_OPMASK == operation
                && (*data).tg_event & pg_sys::TRIGGER_EVENT_ROW == 0
                && (*data).tg_event & pg_sys::TRIGGER_EVENT_TIMINGMASK == pg_sys::TRIGGER_EVENT_AFTER
                && catalog::relation(c"queues", c"task") == Some((*(*data).tg_relation).rd_id);
            if !called {
                refuse("this function is a trigger of queues.task, after each statement that removes rows");
            }
            Transition(data)
        }
    }

    /// True if the table has a column of this name.
    pub fn has_column(&self, name: &CStr) -> bool {
        // SAFETY: within the trigger call; a valid descriptor.
        unsafe { pg_sys::SPI_fnumber((*(*self.0).tg_relation).rd_att, name.as_ptr()) > 0 }
    }

    /// Lets the statements of the current SPI connection read the trigger's transition tables.
    pub(super) fn register(&self) {
        // SAFETY: connected to SPI, within the trigger call.
        let code = unsafe { pg_sys::SPI_register_trigger_data(self.0) };
        assert!(code >= 0, "SPI_register_trigger_data failed: {code}");
    }
}

/// Runs `body`, which executes a statement as another user and leaves its AFTER triggers. Then fires these triggers as
/// the current user: they may belong to users' tables (through a foreign key that cascades), and PostgreSQL runs AFTER
/// triggers as the user who executes the statement.
pub fn fire_afterwards<R>(body: impl FnOnce() -> R) -> R {
    // SAFETY: within a (sub)transaction, whose abort closes the query level if something raises; the
    // executor state is for the triggers' relations, and closed as in trigger.c (afterTriggerInvokeEvents).
    unsafe {
        pg_sys::AfterTriggerBeginQuery();
        let value = body();
        let estate = pg_sys::CreateExecutorState();
        pg_sys::AfterTriggerEndQuery(estate);
        pg_sys::ExecCloseResultRelations(estate);
        pg_sys::ExecResetTupleTable((*estate).es_tupleTable, false);
        pg_sys::FreeExecutorState(estate);
        value
    }
}

/// Raises an error about a trigger for which its function was not made.
fn refuse(message: &str) -> ! {
    log::refuse(
        PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
        message.into(),
        "Drop the trigger: the function is of no use to others.".into(),
    )
}
