//! Checks of the values of settings.

use pgrx::pg_sys;
use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_void};

/// A rule for the values of a setting.
pub trait Check {
    /// # Errors
    /// If the value is not allowed. The error becomes the DETAIL of PostgreSQL's message.
    fn check(value: &str) -> Result<(), String>;
}

/// The check hook of a setting with the rule `C`.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn check_hook<C: Check>(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes a valid, possibly null string.
    let text = unsafe { text_of(*value) };
    match C::check(&text) {
        Ok(()) => true,
        Err(reason) => {
            refuse(None, &reason, None);
            false
        }
    }
}

/// The text of a string that may be null.
///
/// # Safety
/// `value` is null or terminated.
pub(super) unsafe fn text_of(value: *const c_char) -> String {
    if value.is_null() {
        return String::new();
    }
    // SAFETY: the caller passes a terminated string.
    unsafe { CStr::from_ptr(value) }.to_string_lossy().into_owned()
}

/// Reports to PostgreSQL why a value is refused (GUC_check_errmsg and related variables).
pub(super) fn refuse(message: Option<&str>, detail: &str, hint: Option<&str>) {
    let copy = |text: &str| {
        let text = CString::new(text).unwrap_or_default();
        // SAFETY: copied into the current context, which outlives the report.
        unsafe { pg_sys::pstrdup(text.as_ptr()) }
    };
    // SAFETY: main thread; read by the caller of the check hook.
    unsafe {
        if let Some(message) = message {
            pg_sys::GUC_check_errmsg_string = copy(message);
        }
        pg_sys::GUC_check_errdetail_string = copy(detail);
        if let Some(hint) = hint {
            pg_sys::GUC_check_errhint_string = copy(hint);
        }
    }
}
