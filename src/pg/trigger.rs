//! A row-level trigger function, without building Rust values of the row.

use pgrx::{FromDatum, IntoDatum, pg_sys};
use std::ffi::CStr;

/// The new row that a BEFORE trigger was called for.
pub struct NewRow {
    tuple: pg_sys::HeapTuple,
    shape: pg_sys::TupleDesc,
    pub table: pg_sys::Oid,
}

impl NewRow {
    /// The row of a trigger call; raises if `fcinfo` is none.
    ///
    /// # Safety
    /// `fcinfo` comes from PostgreSQL's function manager.
    pub unsafe fn of(fcinfo: pg_sys::FunctionCallInfo) -> NewRow {
        // SAFETY: TRIGGER_FIRED_* of commands/trigger.h, on the caller's promise.
        unsafe {
            let data = (*fcinfo).context.cast::<pg_sys::TriggerData>();
            if data.is_null() || (*data.cast::<pg_sys::Node>()).type_ != pg_sys::NodeTag::T_TriggerData {
                pgrx::error!("this function is a trigger of queues.task");
            }
            let new = (*data).tg_newtuple;
            let tuple = if new.is_null() { (*data).tg_trigtuple } else { new };
            let relation = &*(*data).tg_relation;
            NewRow { tuple, shape: relation.rd_att, table: relation.rd_id }
        }
    }

    /// A column's value; `None` for null or if the table has no such column.
    pub fn get<T: FromDatum>(&self, column: &CStr) -> Option<T> {
        // SAFETY: a valid tuple with its own descriptor; the caller asks for the column's type.
        unsafe {
            let mut null = false;
            let datum = pg_sys::heap_getattr(self.tuple, self.number(column)?, self.shape, &mut null);
            T::from_datum(datum, null)
        }
    }

    /// Sets a column, if the table has it.
    pub fn set(&mut self, column: &CStr, value: impl IntoDatum) {
        if let (Some(mut number), Some(mut datum)) = (self.number(column), value.into_datum()) {
            // SAFETY: a valid tuple with its own descriptor; makes a changed copy. The caller gives the
            // column's type.
            self.tuple = unsafe {
                pg_sys::heap_modify_tuple_by_cols(
                    self.tuple,
                    self.shape,
                    1,
                    &mut number,
                    &mut datum,
                    &mut false,
                )
            };
        }
    }

    fn number(&self, column: &CStr) -> Option<i32> {
        // SAFETY: a valid descriptor.
        let number = unsafe { pg_sys::SPI_fnumber(self.shape, column.as_ptr()) };
        (number > 0).then_some(number)
    }

    /// The row, as the trigger's result.
    pub fn result(self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.tuple)
    }
}
