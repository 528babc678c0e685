//! The elements of a jsonb array and the fields of its objects, one after the other.

use super::jsonb_field::Field;
use pgrx::pg_sys;
use pgrx::pg_sys::JsonbIteratorToken::{WJB_BEGIN_ARRAY, WJB_BEGIN_OBJECT, WJB_ELEM, WJB_KEY, WJB_VALUE};

/// What a [`Parts`] visits.
pub enum Part {
    Key(Field),
    /// The value of the key before it, or an element.
    Value(Field),
}

/// The parts of an array or an object, without those of their own parts.
pub struct Parts(*mut pg_sys::JsonbIterator);

impl Parts {
    /// The elements of an array; `None` if the value is none.
    pub fn of_array(datum: pg_sys::Datum) -> Option<Parts> {
        // SAFETY: a jsonb datum; unpacked, it is valid as long as the memory context.
        unsafe {
            let value = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::Jsonb>();
            let root = &raw mut (*value).root;
            // A scalar stands in an array of its own.
            if (*root).header & pg_sys::JB_FSCALAR != 0 { None } else { begin(root, WJB_BEGIN_ARRAY) }
        }
    }

    /// The keys and values of an object, in turns; `None` if the field is none.
    pub fn of_object(field: &Field) -> Option<Parts> {
        // SAFETY: a field is valid as long as the memory context.
        field.container().and_then(|container| unsafe { begin(container, WJB_BEGIN_OBJECT) })
    }
}

/// # Safety
/// A valid container.
unsafe fn begin(
    container: *mut pg_sys::JsonbContainer,
    wanted: pg_sys::JsonbIteratorToken::Type,
) -> Option<Parts> {
    let mut value = pg_sys::JsonbValue::default();
    // SAFETY: on the caller's promise; the first token tells what the container is.
    unsafe {
        let mut place = pg_sys::JsonbIteratorInit(container);
        (pg_sys::JsonbIteratorNext(&mut place, &mut value, false) == wanted).then_some(Parts(place))
    }
}

impl Iterator for Parts {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        if self.0.is_null() {
            return None;
        }
        let mut value = pg_sys::JsonbValue::default();
        // SAFETY: an iterator that has not ended; it sets itself to null at its end.
        match unsafe { pg_sys::JsonbIteratorNext(&mut self.0, &mut value, true) } {
            WJB_KEY => Some(Part::Key(Field::of(value))),
            WJB_VALUE | WJB_ELEM => Some(Part::Value(Field::of(value))),
            _ => None,
        }
    }
}
