//! A row-level trigger function, without building Rust values of the row.

use pgrx::{FromDatum, pg_sys};
use std::ffi::CStr;

/// The new row that a BEFORE trigger was called for.
pub struct NewRow {
    tuple: pg_sys::HeapTuple,
    shape: pg_sys::TupleDesc,
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
            NewRow { tuple, shape: (*(*data).tg_relation).rd_att }
        }
    }

    /// A column's value; `None` for null or if the table has no such column.
    pub fn get<T: FromDatum>(&self, column: &CStr) -> Option<T> {
        // SAFETY: a valid tuple with its own descriptor; the caller asks for the column's type.
        unsafe {
            let number = pg_sys::SPI_fnumber(self.shape, column.as_ptr());
            if number <= 0 {
                return None;
            }
            let mut null = false;
            let datum = pg_sys::heap_getattr(self.tuple, number, self.shape, &mut null);
            T::from_datum(datum, null)
        }
    }

    /// The row unchanged, as the trigger's result.
    pub fn unchanged(self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.tuple)
    }
}
