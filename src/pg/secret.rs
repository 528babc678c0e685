//! Settings whose values are never shown.

use super::guc::{About, Check, Setting, refuse, text_of};
use super::majors::since_16;
use pgrx::guc::{GucFlags, GucSetting};
use pgrx::pg_sys;
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::os::raw::{c_char, c_void};
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// A secret. Its value is kept apart from the setting, whose visible value is always empty, so that no SHOW, view or
/// log message of a reload can contain it. `N` distinguishes the secrets.
pub struct Secret<const N: usize, C = OneLine> {
    pub about: About,
    pub value: GucSetting<Option<CString>>,
    /// The server's environment variable that is used if the setting is empty.
    pub environment: &'static str,
    /// The rule for the value of the secret.
    pub rule: PhantomData<fn() -> C>,
}

/// The rule for secrets that are sent in a header: they contain no line break.
pub struct OneLine;

impl Check for OneLine {
    fn check(value: &str) -> Result<(), String> {
        if value.chars().any(char::is_control) {
            Err("A secret holds no control characters.".into())
        } else {
            Ok(())
        }
    }
}

/// The secrets as assigned, in memory of the GUC machinery.
static SECRETS: [AtomicPtr<c_char>; 5] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 5];

impl<const N: usize, C> Secret<N, C> {
    /// The secret; `None` if it is not set anywhere.
    pub fn get(&self) -> Option<String> {
        // SAFETY: null or a string that lives until the next assignment; copied at once.
        let set = unsafe { text_of(SECRETS[N].load(Relaxed)) };
        Some(set)
            .filter(|secret| !secret.is_empty())
            .or_else(|| std::env::var(self.environment).ok().filter(|secret| !secret.is_empty()))
    }
}

impl<const N: usize, C: Check> Setting for Secret<N, C> {
    fn about(&self) -> &About {
        &self.about
    }

    fn is_secret(&self) -> bool {
        true
    }

    fn is_set_secret(&self) -> bool {
        self.get().is_some()
    }

    fn define(&'static self) {
        // SAFETY: the hooks are guarded.
        unsafe {
            self.about.define_string(
                &self.value,
                GucFlags::SUPERUSER_ONLY,
                Some(check_secret::<C>),
                Some(assign_secret::<N>),
                Some(show_secret::<N>),
            );
        }
    }
}

/// The check hook, which moves the value into `extra` and leaves an empty string.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn check_secret<C: Check>(
    value: *mut *mut c_char,
    extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    if source == pg_sys::GucSource::PGC_S_TEST {
        refuse(
            Some("a secret cannot be set for a database, a role or a function"),
            "Those settings are stored where every user can read them.",
            Some(
                "Put it into postgresql.conf (or ALTER SYSTEM), or give the server its environment variable.",
            ),
        );
        return false;
    }
    // SAFETY: a private copy of the value, null or terminated; `extra` is passed on to PostgreSQL.
    unsafe {
        let text = text_of(*value);
        if let Err(reason) = C::check(&text) {
            // PostgreSQL's own message would show the value.
            refuse(Some("this is no value for a secret"), &reason, None);
            return false;
        }
        if !(*value).is_null() {
            *extra = guc_copy(CStr::from_ptr(*value)).cast();
            **value = 0;
        }
    }
    true
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn assign_secret<const N: usize>(_value: *const c_char, extra: *mut c_void) {
    SECRETS[N].store(extra.cast(), Relaxed);
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn show_secret<const N: usize>() -> *const c_char {
    // SAFETY: as in `Secret::get`.
    let set = unsafe { text_of(SECRETS[N].load(Relaxed)) };
    if set.is_empty() { c"".as_ptr() } else { c"********".as_ptr() }
}

/// A copy that PostgreSQL can free as the `extra` of a setting.
unsafe fn guc_copy(text: &CStr) -> *mut c_char {
    let bytes = text.to_bytes_with_nul();
    // SAFETY: allocated with room for all bytes.
    unsafe {
        let copy = since_16::allocate_for_setting(bytes.len());
        if !copy.is_null() {
            std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), copy, bytes.len());
        }
        copy
    }
}
