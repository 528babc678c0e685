//! Access to the fields of a jsonb without converting the whole value to text.

use super::jsonb;
pub use super::jsonb_size::TooLong;
use super::jsonb_size::{Count, is_value_longer};
use pgrx::{pg_sys, vardata_any, varsize_any_exhdr};
use std::ops::RangeInclusive;

/// A decompressed jsonb value. It lives as long as the memory context that it was decompressed in.
pub struct View {
    value: *mut pg_sys::Jsonb,
    root: *mut pg_sys::JsonbContainer,
}

impl View {
    pub fn of(datum: pg_sys::Datum) -> View {
        // SAFETY: a jsonb datum; unpacked, it is valid as long as the memory context.
        unsafe {
            let value = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::Jsonb>();
            View { value, root: &raw mut (*value).root }
        }
    }

    /// The field of this name, if the value is an object that has it.
    pub fn get(&self, name: &str) -> Option<Field> {
        // SAFETY: valid as long as the memory context.
        unsafe { field(self.root, name) }
    }

    /// Visits the keys, if the value is an object.
    pub fn each_key(&self, visit: impl FnMut(&[u8])) {
        each_key(pg_sys::Datum::from(self.value), 0..=usize::MAX, visit);
    }

    /// The type of the value, if it is not an object.
    pub fn kind_if_no_object(&self) -> Option<&'static str> {
        // SAFETY: valid as long as the memory context; a scalar stands in an array of its own.
        unsafe {
            let header = (*self.root).header;
            if header & pg_sys::JB_FOBJECT != 0 {
                return None;
            }
            let mut value = pg_sys::JsonbValue::default();
            if header & pg_sys::JB_FSCALAR == 0 || !pg_sys::JsonbExtractScalar(self.root, &mut value) {
                return Some("an array");
            }
            Some(match value.type_ {
                pg_sys::jbvType::jbvString => "a string",
                pg_sys::jbvType::jbvBool => "a boolean",
                pg_sys::jbvType::jbvNull => "null",
                _ => "a number",
            })
        }
    }
}

/// Visits the keys of an object with a length in this range. Nothing is allocated for a jsonb that is stored inline and
/// uncompressed.
pub fn each_key(datum: pg_sys::Datum, lengths: RangeInclusive<usize>, mut visit: impl FnMut(&[u8])) {
    // SAFETY: a jsonb datum; what is unpacked for this is freed again. Lengths come from the value itself.
    unsafe {
        let packed: *mut pg_sys::varlena = datum.cast_mut_ptr();
        let value = pg_sys::pg_detoast_datum_packed(packed);
        let bytes = std::slice::from_raw_parts(vardata_any(value).cast::<u8>(), varsize_any_exhdr(value));
        keys_of(bytes, lengths, &mut visit);
        if value != packed {
            pg_sys::pfree(value.cast());
        }
    }
}

/// The keys come first in a container, ordered by length (utils/jsonb.h).
fn keys_of(container: &[u8], lengths: RangeInclusive<usize>, visit: &mut impl FnMut(&[u8])) {
    let word = |place: usize| {
        let bytes = container.get(4 * place..4 * place + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let Some(header) = word(0).filter(|header| header & pg_sys::JB_FOBJECT != 0) else { return };
    let count = (header & pg_sys::JB_CMASK) as usize;
    let mut start = 4 * (1 + 2 * count);
    let first = start;
    for entry in (1..=count).map_while(word) {
        let number = (entry & pg_sys::JENTRY_OFFLENMASK) as usize;
        let end = if entry & pg_sys::JENTRY_HAS_OFF != 0 { first + number } else { start + number };
        let Some(key) = container.get(start..end).filter(|key| key.len() <= *lengths.end()) else { return };
        if lengths.contains(&key.len()) {
            visit(key);
        }
        start = end;
    }
}

/// A value in a jsonb.
pub struct Field(pg_sys::JsonbValue);

impl Field {
    pub(super) fn of(value: pg_sys::JsonbValue) -> Field {
        Field(value)
    }

    /// The object or array that the value is.
    pub(super) fn container(&self) -> Option<*mut pg_sys::JsonbContainer> {
        match self.0.type_ {
            // SAFETY: the type determines which field of the union is valid.
            pg_sys::jbvType::jbvBinary => Some(unsafe { self.0.val.binary.data }),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.0.type_ == pg_sys::jbvType::jbvNull
    }

    pub fn is_false(&self) -> bool {
        // SAFETY: the type determines which field of the union is valid.
        unsafe { self.0.type_ == pg_sys::jbvType::jbvBool && !self.0.val.boolean }
    }

    /// True for `""` and `{}`.
    pub fn is_empty(&self) -> bool {
        // SAFETY: as above; a container begins with its kind and the number of its entries.
        unsafe {
            match self.0.type_ {
                pg_sys::jbvType::jbvString => self.0.val.string.len == 0,
                pg_sys::jbvType::jbvBinary => (*self.0.val.binary.data).header == pg_sys::JB_FOBJECT,
                _ => false,
            }
        }
    }

    /// The field of this name, if the value is an object that has it.
    pub fn get(&self, name: &str) -> Option<Field> {
        // SAFETY: the container is valid as long as the memory context.
        self.container().and_then(|container| unsafe { field(container, name) })
    }

    /// The content of a string; `None` for another value, and for a string that is not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        str::from_utf8(self.bytes()?).ok()
    }

    /// The value as jsonb. It lives as long as the current memory context.
    pub fn to_jsonb(&self) -> pg_sys::Datum {
        let mut value = self.0;
        // SAFETY: what it points to lives as long as the memory context; it is copied.
        unsafe { pg_sys::Datum::from(pg_sys::JsonbValueToJsonb(&mut value)) }
    }

    /// The content of a string, truncated to at most `limit` bytes.
    pub fn string(&self, limit: usize) -> Option<String> {
        let bytes = self.bytes()?;
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(limit + 4)]);
        Some(start[..start.floor_char_boundary(limit)].to_owned())
    }

    /// The JSON text.
    ///
    /// # Errors
    /// If it has more than `limit` bytes, counted in this way.
    pub fn json(&self, count: Count, limit: usize) -> Result<String, TooLong> {
        // SAFETY: what it points to lives as long as the memory context.
        if unsafe { is_value_longer(count, &self.0, limit) } {
            return Err(TooLong);
        }
        Ok(jsonb::output(self.to_jsonb()))
    }

    /// The text as `->>` returns it: a string without quotes, `None` for null.
    ///
    /// # Errors
    /// If it has more than `limit` bytes.
    pub fn text(&self, limit: usize) -> Result<Option<String>, TooLong> {
        match self.bytes() {
            Some(bytes) if bytes.len() > limit => Err(TooLong),
            Some(_) => Ok(self.string(limit)),
            None if self.is_null() => Ok(None),
            None => self.json(Count::Text, limit).map(Some),
        }
    }

    fn bytes(&self) -> Option<&[u8]> {
        // SAFETY: the type determines which field of the union is valid.
        unsafe {
            let is_string = self.0.type_ == pg_sys::jbvType::jbvString;
            is_string.then(|| {
                let string = self.0.val.string;
                std::slice::from_raw_parts(string.val.cast::<u8>(), string.len as usize)
            })
        }
    }
}

/// # Safety
/// A valid container.
unsafe fn field(container: *mut pg_sys::JsonbContainer, name: &str) -> Option<Field> {
    // SAFETY: on the caller's promise; the result is written to the local variable.
    unsafe {
        if (*container).header & pg_sys::JB_FOBJECT == 0 {
            return None;
        }
        let mut value = pg_sys::JsonbValue::default();
        let found = pg_sys::getKeyJsonValueFromContainer(
            container,
            name.as_ptr().cast(),
            name.len() as i32,
            &mut value,
        );
        (!found.is_null()).then_some(Field(value))
    }
}
