//! The texts of statements as they are shown, and the pieces of them that are hidden.

use pgrx::pg_sys;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::raw::c_char;

/// The hidden pieces of a statement. They are hidden in messages about it, too.
pub type Pieces = Vec<Vec<u8>>;

/// The number of statements whose hidden pieces are remembered, since a prepared statement may run again.
const REMEMBERED: usize = 8;

/// A statement as it is shown, and the pieces of it that are hidden.
struct Hidden {
    shown: Vec<u8>,
    pieces: Pieces,
}

/// The text that is logged instead of that of the running statement, and the address of the original.
struct Stand {
    shown: CString,
    text: *const c_char,
}

thread_local! {
    static HIDDEN: RefCell<VecDeque<Hidden>> = const { RefCell::new(VecDeque::new()) };
    static STAND: RefCell<Option<Stand>> = const { RefCell::new(None) };
}

/// The bytes of a terminated text; none if it is null.
///
/// # Safety
/// Null, or a terminated text that is not changed meanwhile.
pub unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    // SAFETY: as the caller promises.
    if text.is_null() { &[] } else { unsafe { CStr::from_ptr(text) }.to_bytes() }
}

/// The bytes of a terminated text, to be changed; none if it is null.
///
/// # Safety
/// Null, or a terminated text that no other code accesses meanwhile.
pub unsafe fn bytes_of<'a>(text: *mut c_char) -> &'a mut [u8] {
    if text.is_null() {
        return &mut [];
    }
    // SAFETY: on the caller's promise; allocated by PostgreSQL for one owner.
    unsafe { std::slice::from_raw_parts_mut(text.cast(), libc::strlen(text)) }
}

/// The statement that the session runs, as the client sent it.
pub fn text_of_session() -> *const c_char {
    // SAFETY: state of this process.
    let text = unsafe { pg_sys::debug_query_string };
    let original = |stand: &Stand| (stand.shown.as_ptr() == text).then_some(stand.text);
    STAND.with_borrow(|stand| stand.as_ref().and_then(original)).unwrap_or(text)
}

/// The hidden pieces of the statement that is shown as `shown`.
pub fn pieces_of(shown: &[u8]) -> Option<Pieces> {
    HIDDEN.with_borrow(|all| {
        all.iter().find(|hidden| hidden.shown == shown).map(|hidden| hidden.pieces.clone())
    })
}

/// Remembers the hidden pieces of a statement.
pub fn remember(shown: &[u8], pieces: Pieces) {
    let mut known = pieces_of(shown).unwrap_or_default();
    known.extend(pieces);
    known.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    known.dedup();
    HIDDEN.with_borrow_mut(|all| {
        all.retain(|hidden| hidden.shown != shown);
        all.truncate(REMEMBERED - 1);
        all.push_front(Hidden { shown: shown.to_vec(), pieces: known });
    });
}

/// Replaces the text that is logged for the running statement.
pub fn stand_in(shown: CString, text: *const c_char) {
    STAND.with_borrow_mut(|stand| {
        let stand = stand.insert(Stand { shown, text });
        // SAFETY: the text lives until another one replaces it.
        unsafe { pg_sys::debug_query_string = stand.shown.as_ptr() }
    });
}
