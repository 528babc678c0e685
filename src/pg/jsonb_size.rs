//! The length of a jsonb's text, computed without producing the text: a number of ten bytes can have 147,000 digits,
//! and a control character in a string becomes six characters.

use pgrx::{pg_sys, vardata_any, varsize_any_exhdr};

/// The maximum number of characters that a byte of a jsonb can become: 14 bytes hold a number with 131,072 digits
/// before the point and 16,383 behind it.
const MOST_PER_BYTE: usize = 11_000;

/// A text that would be too long.
#[derive(Debug)]
pub struct TooLong;

/// The way in which a text is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// The text as `jsonb::to_text` returns it.
    Text,
    /// The text with strings counted without their escapes.
    Content,
}

/// True if the text of a jsonb has more than `limit` bytes. Small values are not examined.
pub fn is_longer(datum: pg_sys::Datum, limit: usize) -> bool {
    is_longer_in(Count::Text, datum, limit)
}

/// [`is_longer`] for a given way of counting.
pub fn is_longer_in(count: Count, datum: pg_sys::Datum, limit: usize) -> bool {
    // SAFETY: a jsonb datum; what is unpacked for this is freed again.
    unsafe {
        if pg_sys::toast_raw_datum_size(datum).saturating_mul(MOST_PER_BYTE) <= limit {
            return false;
        }
        let packed: *mut pg_sys::varlena = datum.cast_mut_ptr();
        let value = pg_sys::pg_detoast_datum(packed);
        let root = &raw mut (*value.cast::<pg_sys::Jsonb>()).root;
        let longer = is_container_longer(count, root, limit);
        if value != packed {
            pg_sys::pfree(value.cast());
        }
        longer
    }
}

/// True if the text of a value has more than `limit` bytes.
///
/// # Safety
/// A valid value, along with what it points to.
pub unsafe fn is_value_longer(count: Count, value: &pg_sys::JsonbValue, limit: usize) -> bool {
    // SAFETY: on the caller's promise.
    unsafe {
        match value.type_ {
            pg_sys::jbvType::jbvBinary => is_container_longer(count, value.val.binary.data, limit),
            _ => scalar(count, value) > limit,
        }
    }
}

/// # Safety
/// A valid container.
unsafe fn is_container_longer(count: Count, root: *mut pg_sys::JsonbContainer, limit: usize) -> bool {
    use pg_sys::JsonbIteratorToken::{WJB_DONE, WJB_ELEM, WJB_KEY, WJB_VALUE};
    let mut length = 0_usize;
    // SAFETY: on the caller's promise; the iterator keeps its state in memory of its own, whatever the depth.
    unsafe {
        let mut place = pg_sys::JsonbIteratorInit(root);
        let mut value = pg_sys::JsonbValue::default();
        loop {
            let token = pg_sys::JsonbIteratorNext(&mut place, &mut value, false);
            length += match token {
                WJB_DONE => return length > limit,
                // A key or an element is followed by ": " or ", ".
                WJB_KEY | WJB_VALUE | WJB_ELEM => scalar(count, &value) + 2,
                // A bracket; the closing one is followed by ", ".
                _ => 2,
            };
            if length > limit {
                return true;
            }
        }
    }
}

/// # Safety
/// A valid scalar.
unsafe fn scalar(count: Count, value: &pg_sys::JsonbValue) -> usize {
    // SAFETY: the type determines which field of the union is valid.
    unsafe {
        match value.type_ {
            pg_sys::jbvType::jbvString => {
                let string = value.val.string;
                let bytes = std::slice::from_raw_parts(string.val.cast::<u8>(), string.len as usize);
                match count {
                    Count::Text => 2 + bytes.iter().map(|byte| escaped(*byte)).sum::<usize>(),
                    Count::Content => 2 + bytes.len(),
                }
            }
            pg_sys::jbvType::jbvNumeric => number(value.val.numeric.cast()),
            // "false" is the longest of the remaining values.
            _ => 5,
        }
    }
}

/// The number of characters that a byte of a string becomes in JSON.
fn escaped(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | 8 | 9 | 10 | 12 | 13 => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

/// # Safety
/// A valid numeric.
unsafe fn number(numeric: *const pg_sys::varlena) -> usize {
    // SAFETY: on the caller's promise: a header of two or four bytes, then digits to the base of 10,000 (the format on
    // disk, utils/adt/numeric.c).
    unsafe {
        let words = vardata_any(numeric).cast::<u16>();
        let size = varsize_any_exhdr(numeric) / 2;
        let word = |place: usize| if place < size { words.add(place).read_unaligned() } else { 0 };
        let shape = Shape::of(word(0), word(1));
        shape.length(word(shape.words))
    }
}

/// The header of a numeric.
struct Shape {
    negative: bool,
    /// The number of digits after the decimal point.
    scale: usize,
    /// The weight of the first digit, to the base of 10,000.
    weight: isize,
    /// The number of 16-bit words in the header.
    words: usize,
}

impl Shape {
    fn of(first: u16, second: u16) -> Shape {
        if first & 0x8000 != 0 {
            let weight = (first & 0x3f) as isize - if first & 0x40 != 0 { 64 } else { 0 };
            Shape { negative: first & 0x2000 != 0, scale: usize::from(first >> 7 & 0x3f), weight, words: 1 }
        } else {
            Shape {
                negative: first & 0xc000 == 0x4000,
                scale: usize::from(first & 0x3fff),
                weight: isize::from(second as i16),
                words: 2,
            }
        }
    }

    /// The number of characters of the text.
    fn length(&self, first_digit: u16) -> usize {
        let before_point = match usize::try_from(self.weight) {
            Ok(weight) => weight * 4 + first_digit.max(1).ilog10() as usize + 1,
            Err(_) => 1,
        };
        usize::from(self.negative) + before_point + if self.scale > 0 { 1 + self.scale } else { 0 }
    }
}
