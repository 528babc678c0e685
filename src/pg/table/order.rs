//! Rows in the order of an index, read without the executor, at a fraction of the cost of a statement.

use super::{Seen, Table};
use crate::pg::heap;
use crate::pg::majors::since_18;
use crate::pg::shape::Numbers;
use pg_errand_queue::Address;
use pgrx::pg_sys;

/// An index by its place in the list of its [`Shape`](crate::pg::shape::Shape). Its first columns are of type bigint.
#[derive(Clone, Copy)]
pub struct Order(pub usize);

/// A place in an index that goes on with a timestamptz and a bigint: rows after it are read.
#[derive(Clone, Copy)]
pub struct Place {
    /// Microseconds since 2000-01-01.
    pub time: i64,
    pub id: i64,
}

/// The greatest number of keys of a scan.
const MAX_KEYS: usize = 5;

/// What is called for each row, until it returns false.
type ForRow<'a> = dyn FnMut(&Seen, Option<Address>) -> bool + 'a;

/// The keys of an index scan.
struct Keys {
    keys: [pg_sys::ScanKeyData; MAX_KEYS],
    count: usize,
}

impl Keys {
    fn equal(prefix: &[i64]) -> Keys {
        let mut keys = Keys { keys: [pg_sys::ScanKeyData::default(); MAX_KEYS], count: 0 };
        prefix.iter().for_each(|value| keys.add(pg_sys::BTEqualStrategyNumber, pg_sys::F_INT8EQ, *value));
        keys
    }

    /// Adds a condition on the next column.
    fn add(&mut self, strategy: u32, function: u32, value: i64) {
        let column = self.count as i16 + 1;
        // SAFETY: a key of this array; a function of two arguments that exists.
        unsafe {
            pg_sys::ScanKeyInit(
                &mut self.keys[self.count],
                column,
                strategy as _,
                pg_sys::Oid::from(function),
                pg_sys::Datum::from(value),
            );
        }
        self.count += 1;
    }

    /// The scans that together read what is after `place`.
    fn after(prefix: &[i64], place: Option<Place>) -> impl Iterator<Item = Keys> {
        let with = |conditions: &[(u32, u32, i64)]| {
            let mut keys = Keys::equal(prefix);
            conditions.iter().for_each(|(strategy, function, value)| keys.add(*strategy, *function, *value));
            keys
        };
        let scans = match place {
            None => [Some(with(&[])), None],
            Some(Place { time, id }) => [
                Some(with(&[
                    (pg_sys::BTEqualStrategyNumber, pg_sys::F_TIMESTAMPTZ_EQ, time),
                    (pg_sys::BTGreaterStrategyNumber, pg_sys::F_INT8GT, id),
                ])),
                Some(with(&[(pg_sys::BTGreaterStrategyNumber, pg_sys::F_TIMESTAMPTZ_GT, time)])),
            ],
        };
        scans.into_iter().flatten()
    }
}

impl Table {
    /// Calls `row` for the rows whose first columns of the index are `prefix`, after `place`, in order, as of now, until it
    /// returns false. Returns false, without a row, if a statement has to be used.
    pub fn in_order(
        &self,
        order: Order,
        prefix: &[i64],
        place: Option<Place>,
        mut row: impl FnMut(&Seen, Option<Address>) -> bool,
    ) -> bool {
        self.with_index(order, |scan_for| {
            for keys in Keys::after(prefix, place) {
                if !scan_for(keys, &mut row) {
                    break;
                }
            }
        })
    }

    /// Calls `row` for the first row of each value of the column after `prefix` that is greater than `after`, in order, as of
    /// now. It returns that value, after which the next row is looked for, or `None` to stop. Returns false, without a row, if
    /// a statement has to be used.
    pub fn firsts(
        &self,
        order: Order,
        prefix: &[i64],
        after: i64,
        mut row: impl FnMut(&Seen) -> Option<i64>,
    ) -> bool {
        self.with_index(order, |scan_for| {
            let mut next = Some(after);
            while let Some(after) = next.take() {
                let mut keys = Keys::equal(prefix);
                keys.add(pg_sys::BTGreaterStrategyNumber, pg_sys::F_INT8GT, after);
                scan_for(keys, &mut |found, _| {
                    next = row(found);
                    false
                });
            }
        })
    }

    /// Calls `body` with a function that scans the index for keys as of now. Returns false, without a call, if a statement has
    /// to be used.
    fn with_index(&self, order: Order, body: impl FnOnce(&dyn Fn(Keys, &mut ForRow) -> bool)) -> bool {
        // SAFETY: within a transaction; what is opened is closed, by the transaction's abort if something raises.
        unsafe {
            let relation = heap::open(self.oid);
            let layout = self.layout().filter(|layout| layout.orders[order.0] != 0);
            if let Some(layout) = layout {
                let index = pg_sys::Oid::from_u32(layout.orders[order.0]);
                let index = pg_sys::index_open(index, pg_sys::AccessShareLock as _);
                pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
                body(&|keys, row| scan(relation, index, keys, &layout.numbers, row));
                pg_sys::PopActiveSnapshot();
                pg_sys::index_close(index, pg_sys::NoLock as _);
            }
            pg_sys::relation_close(relation, pg_sys::NoLock as _);
            layout.is_some()
        }
    }
}

/// False if `row` has returned false.
///
/// # Safety
/// Open relations, keys of columns that the index has; the active snapshot remains active.
unsafe fn scan(
    relation: pg_sys::Relation,
    index: pg_sys::Relation,
    mut keys: Keys,
    numbers: &Numbers,
    row: &mut ForRow,
) -> bool {
    // SAFETY: as the caller promises; the slot holds the row until the next one is fetched.
    unsafe {
        let slot = pg_sys::table_slot_create(relation, std::ptr::null_mut());
        let scan =
            since_18::begin_index_scan(relation, index, pg_sys::GetActiveSnapshot(), keys.count as i32);
        pg_sys::index_rescan(scan, keys.keys.as_mut_ptr(), keys.count as i32, std::ptr::null_mut(), 0);
        let mut goes_on = true;
        while goes_on && pg_sys::index_getnext_slot(scan, pg_sys::ScanDirection::ForwardScanDirection, slot) {
            let tuple = pg_sys::ExecFetchSlotHeapTuple(slot, false, std::ptr::null_mut());
            let (values, nulls) = heap::deform(tuple, (*relation).rd_att);
            let address = heap::address(&(*tuple).t_self);
            goes_on = row(&Seen { numbers, values: &values, nulls: &nulls }, address);
        }
        pg_sys::index_endscan(scan);
        pg_sys::ExecDropSingleTupleTableSlot(slot);
        goes_on
    }
}
