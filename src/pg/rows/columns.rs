//! The columns of a row that are read. PostgreSQL's function takes all columns of a row apart, of which half are needed.

use crate::pg::heap;
use crate::pg::majors::since_18;
use pgrx::{pg_sys, varlena};
use std::ffi::CStr;

/// The places of columns in the rows of a table.
pub(super) struct Columns<const N: usize> {
    shape: pg_sys::TupleDesc,
    /// The attribute numbers.
    numbers: [i16; N],
    /// The attributes up to the last one that is read.
    walked: Vec<Attribute>,
}

struct Attribute {
    /// In bytes; -1: the value says its length.
    length: i16,
    /// The alignment, a power of two, less one.
    align_mask: usize,
    is_by_value: bool,
    /// The place of the column in the list, if it is read.
    place: Option<usize>,
}

impl<const N: usize> Columns<N> {
    /// `None` if the table has not all these columns.
    ///
    /// # Safety
    /// An open table, which stays open.
    pub unsafe fn of(relation: pg_sys::Relation, names: [&CStr; N]) -> Option<Self> {
        // SAFETY: as the caller promises.
        unsafe {
            let (table, shape) = ((*relation).rd_id, (*relation).rd_att);
            let numbers = names.map(|name| pg_sys::get_attnum(table, name.as_ptr()));
            let is_complete = numbers.iter().all(|number| *number > 0);
            let last = numbers.iter().copied().max().filter(|_| is_complete)?;
            let walked = (0..last).map(|index| {
                let attribute = &*since_18::attribute(shape, index.into());
                Attribute {
                    length: attribute.attlen,
                    align_mask: alignment(attribute.attalign as u8) - 1,
                    is_by_value: attribute.attbyval,
                    place: numbers.iter().position(|number| *number == index + 1),
                }
            });
            Some(Columns { shape, numbers, walked: walked.collect() })
        }
    }

    /// Reads the columns of a row. Values that are not passed by value are part of the row.
    ///
    /// # Safety
    /// A row of the table.
    pub unsafe fn read(
        &self,
        tuple: &pg_sys::HeapTupleData,
        values: &mut [pg_sys::Datum; N],
        nulls: &mut [bool; N],
    ) {
        // SAFETY: a row of the table: its header says how many attributes it has and which are null.
        unsafe {
            let header = tuple.t_data;
            let has = usize::from((*header).t_infomask2 & pg_sys::HEAP_NATTS_MASK as u16);
            // Columns that were added later, with a default.
            if has < self.walked.len() {
                return self.read_all(tuple, values, nulls);
            }
            let has_nulls = (*header).t_infomask & pg_sys::HEAP_HASNULL as u16 != 0;
            let bits = (&raw const (*header).t_bits).cast::<u8>();
            let data = header.cast::<u8>().add(usize::from((*header).t_hoff));
            let mut offset = 0;
            for (index, attribute) in self.walked.iter().enumerate() {
                let is_null = has_nulls && *bits.add(index / 8) & 1 << (index % 8) == 0;
                if let Some(place) = attribute.place {
                    nulls[place] = is_null;
                }
                if is_null {
                    continue;
                }
                // A short value of variable length is not aligned; its first byte is not zero.
                if attribute.length > 0 || *data.add(offset) == 0 {
                    offset = (offset + attribute.align_mask) & !attribute.align_mask;
                }
                let value = data.add(offset);
                if let Some(place) = attribute.place {
                    values[place] = attribute.fetch(value);
                }
                offset += match attribute.length {
                    length if length > 0 => length as usize,
                    _ => varlena::varsize_any(value.cast()),
                };
            }
        }
    }

    #[cold]
    unsafe fn read_all(
        &self,
        tuple: &pg_sys::HeapTupleData,
        values: &mut [pg_sys::Datum; N],
        nulls: &mut [bool; N],
    ) {
        // SAFETY: a row of the table.
        unsafe {
            let (all, are_null) = heap::deform(std::ptr::from_ref(tuple).cast_mut(), self.shape);
            for (place, number) in self.numbers.iter().enumerate() {
                let index = *number as usize - 1;
                (values[place], nulls[place]) = (all[index], are_null[index]);
            }
        }
    }
}

impl Attribute {
    unsafe fn fetch(&self, value: *const u8) -> pg_sys::Datum {
        // SAFETY: the aligned value of an attribute of this length.
        unsafe {
            match self.length {
                1 if self.is_by_value => pg_sys::Datum::from(*value),
                2 if self.is_by_value => pg_sys::Datum::from(*value.cast::<i16>()),
                4 if self.is_by_value => pg_sys::Datum::from(*value.cast::<i32>()),
                8 if self.is_by_value => pg_sys::Datum::from(*value.cast::<i64>()),
                _ => pg_sys::Datum::from(value.cast_mut()),
            }
        }
    }
}

/// In bytes, as `pg_type.typalign` says it.
const fn alignment(code: u8) -> usize {
    match code {
        b's' => 2,
        b'i' => 4,
        b'd' => 8,
        _ => 1,
    }
}
