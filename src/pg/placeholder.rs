//! Custom settings that a handler has set (`app.tenant`). PostgreSQL creates a placeholder for such a name and keeps it
//! until the session ends: in later tasks, `current_setting('app.tenant', true)` would return an empty string instead
//! of null.

use super::majors::since_16;
use super::procedure;
use pgrx::pg_sys;
use std::cell::Cell;
use std::os::raw::c_char;

thread_local! {
    static HIDDEN: Cell<usize> = const { Cell::new(0) };
    /// Whether a setting was set since the previous invocation of [`hide`].
    static SET: Cell<bool> = const { Cell::new(false) };
}

/// Notes that a setting is about to be set.
pub fn note_setting() {
    SET.set(true);
}

/// True if an invocation of this function may create a placeholder that only [`note_setting`] reveals.
pub fn may_be_created_by(function: pg_sys::Oid) -> bool {
    !since_16::SETTINGS_ARE_COUNTED && procedure::sets_custom_setting(function)
}

/// The number of placeholders that were hidden in this process.
pub fn hidden() -> usize {
    HIDDEN.get()
}

/// Hides the placeholders that a new session would not have. PostgreSQL cannot remove a placeholder from its list, so
/// each is given a name that cannot be requested.
pub fn hide() {
    if !since_16::may_have_new_settings(SET.take()) {
        return;
    }
    // SAFETY: main thread, while no setting is being changed. The records are this process's own.
    let hidden = unsafe { since_16::rename_settings(|record| rename(record)) };
    HIDDEN.set(HIDDEN.get() + hidden);
}

/// The first character of a hidden name. No name of a setting begins with it, and it sorts before all others.
const MARK: c_char = if c_char::MIN == 0 { 1 } else { c_char::MIN };

/// Renames the record of a placeholder that has no value; false if the record is not one.
unsafe fn rename(record: *mut pg_sys::config_generic) -> bool {
    // SAFETY: a valid record. The name of a placeholder was allocated for it.
    unsafe {
        let record = &mut *record;
        let is_placeholder = record.flags & pg_sys::GUC_CUSTOM_PLACEHOLDER as i32 != 0;
        let has_default = record.source == pg_sys::GucSource::PGC_S_DEFAULT
            && record.reset_source == pg_sys::GucSource::PGC_S_DEFAULT
            && record.stack.is_null();
        if !is_placeholder || !has_default || *record.name == MARK {
            return false;
        }
        *record.name.cast_mut() = MARK;
        record.context = pg_sys::GucContext::PGC_INTERNAL;
        record.flags |= pg_sys::GUC_NO_SHOW_ALL as i32;
        true
    }
}
