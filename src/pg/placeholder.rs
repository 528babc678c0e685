//! Settings that a handler makes up (`app.tenant`). PostgreSQL creates a placeholder for such a name and keeps it to the
//! end of the session: `current_setting('app.tenant', true)` would be an empty string in later tasks instead of null.

use pgrx::pg_sys;
use std::cell::Cell;
use std::os::raw::c_char;

thread_local! {
    static HIDDEN: Cell<usize> = const { Cell::new(0) };
}

/// Placeholders that were hidden in this process.
pub fn hidden() -> usize {
    HIDDEN.get()
}

/// Has no later look-up find the placeholders that a new session would not have. Nothing can remove one from
/// PostgreSQL's list, so each gets a name that nobody asks for.
pub fn hide() {
    if !may_be_there() {
        return;
    }
    // SAFETY: main thread, while no setting is being changed. The records are this process's own.
    let hidden = unsafe { hide_all() };
    HIDDEN.set(HIDDEN.get() + hidden);
}

/// False if it is certain that there are no further placeholders than at the last look.
#[cfg(any(feature = "pg14", feature = "pg15"))]
fn may_be_there() -> bool {
    thread_local! {
        static COUNT: Cell<i32> = const { Cell::new(0) };
    }
    // SAFETY: a counter of this process.
    let count = unsafe { pg_sys::GetNumConfigOptions() };
    COUNT.replace(count) != count
}

/// From 16 on PostgreSQL does not tell how many settings there are.
#[cfg(not(any(feature = "pg14", feature = "pg15")))]
fn may_be_there() -> bool {
    super::traces::take_setting()
}

/// Settings are sorted by their names, and found by bisection.
#[cfg(any(feature = "pg14", feature = "pg15"))]
unsafe fn hide_all() -> usize {
    // SAFETY: the array of all records, which is changed only here and where a setting is added.
    unsafe {
        let count = pg_sys::GetNumConfigOptions() as usize;
        let records = std::slice::from_raw_parts_mut(pg_sys::get_guc_variables(), count);
        let mut hidden = 0;
        for place in 0..count {
            if rename(records[place]) {
                records[..=place].rotate_right(1);
                hidden += 1;
            }
        }
        hidden
    }
}

/// Settings are found by a hash of their names; an entry stays where the hash of its first name has put it.
#[cfg(not(any(feature = "pg14", feature = "pg15")))]
unsafe fn hide_all() -> usize {
    let mut count = 0;
    // SAFETY: a new array of all records, freed here.
    unsafe {
        let records = pg_sys::get_guc_variables(&mut count);
        let hidden = (0..count as usize).filter(|place| rename(*records.add(*place))).count();
        pg_sys::pfree(records.cast());
        hidden
    }
}

/// No name of a setting begins with it, and it sorts before all that can be in one.
const MARK: c_char = if c_char::MIN == 0 { 1 } else { c_char::MIN };

/// Gives a record another name if it is a placeholder that has no value; true if it was one.
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
