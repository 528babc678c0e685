//! Settings (GUCs): one value of one of these types is a setting, its definition and its access.

use pgrx::guc::{GucContext, GucEnum, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;
use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_void};
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};
use std::time::Duration;

/// What every setting has.
pub struct About {
    /// Full name, `pg_errand.` included.
    pub name: &'static CStr,
    /// One sentence, as `pg_settings.short_desc` shows it.
    pub short: &'static CStr,
    /// What a user wants to know beyond it.
    pub long: &'static CStr,
    pub context: Context,
}

/// Who may set it and when it takes effect.
#[derive(Clone, Copy)]
pub enum Context {
    /// Configuration files only; at reload.
    Sighup,
    /// Superusers, and those granted SET on it; also per database.
    Superuser,
}

/// A setting that can be defined; the list of all is in [`crate::config`].
pub trait Setting: Sync {
    /// Registers it with PostgreSQL; once, while the library is loaded.
    fn define(&'static self);
}

#[derive(Clone, Copy)]
pub enum Unit {
    None,
    Milliseconds,
    Seconds,
}

/// An integer, or a span of time.
pub struct Int {
    pub about: About,
    pub value: GucSetting<i32>,
    pub min: i32,
    pub max: i32,
    pub unit: Unit,
}

impl Int {
    pub fn get(&self) -> i32 {
        self.value.get()
    }

    /// A value as a user writes it, with or without a unit.
    pub fn parse(&self, text: &str) -> Option<i32> {
        let text = CString::new(text).ok()?;
        let mut value = 0;
        // SAFETY: parse_int reads the text and writes the value.
        let valid = unsafe {
            pg_sys::parse_int(text.as_ptr(), &mut value, self.flags().bits(), std::ptr::null_mut())
        };
        valid.then_some(value)
    }

    fn flags(&self) -> GucFlags {
        match self.unit {
            Unit::None => GucFlags::empty(),
            Unit::Milliseconds => GucFlags::UNIT_MS,
            Unit::Seconds => GucFlags::UNIT_S,
        }
    }

    /// The value as a span of time; zero or less: none.
    pub fn duration(&self) -> Duration {
        let value = self.get().max(0) as u64;
        match self.unit {
            Unit::Seconds => Duration::from_secs(value),
            Unit::None | Unit::Milliseconds => Duration::from_millis(value),
        }
    }
}

impl Setting for Int {
    fn define(&'static self) {
        let flags = self.flags();
        let About { name, short, long, context } = &self.about;
        GucRegistry::define_int_guc(
            name,
            short,
            long,
            &self.value,
            self.min,
            self.max,
            (*context).into(),
            flags,
        );
    }
}

/// One of a few words.
pub struct Choice<T: GucEnum + 'static> {
    pub about: About,
    pub value: GucSetting<T>,
}

impl<T: GucEnum> Choice<T> {
    pub fn get(&self) -> T {
        self.value.get()
    }
}

impl<T: GucEnum> Setting for Choice<T> {
    fn define(&'static self) {
        let About { name, short, long, context } = &self.about;
        GucRegistry::define_enum_guc(name, short, long, &self.value, (*context).into(), GucFlags::empty());
    }
}

/// A text that has to satisfy a check.
pub struct Text {
    pub about: About,
    pub value: GucSetting<Option<CString>>,
    /// `check_hook` of the check that belongs to this setting.
    pub check: pg_sys::GucStringCheckHook,
}

impl Text {
    pub fn get(&self) -> String {
        self.value.get().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

impl Setting for Text {
    fn define(&'static self) {
        let About { name, short, long, context } = &self.about;
        // SAFETY: the hook is guarded, see `check_hook`.
        unsafe {
            GucRegistry::define_string_guc_with_hooks(
                name,
                short,
                long,
                &self.value,
                (*context).into(),
                GucFlags::empty(),
                self.check,
                None,
                None,
            );
        }
    }
}

/// A rule for values: the error's message detail says what is allowed.
pub trait Check {
    /// # Errors
    /// What is wrong with `value` and what is allowed instead.
    fn check(value: &str) -> Result<(), String>;
}

/// The check hook for rule `C`.
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

/// A secret. Its value is kept beside the setting, whose visible value is always empty: no SHOW,
/// view or log line of a reload can hold it. `N` tells the secrets apart.
pub struct Secret<const N: usize> {
    pub about: About,
    pub value: GucSetting<Option<CString>>,
    /// The server's environment variable that is used when the setting is empty.
    pub environment: &'static str,
}

/// Where assign hooks leave the secrets; owned by the GUC machinery.
static SECRETS: [AtomicPtr<c_char>; 1] = [AtomicPtr::new(std::ptr::null_mut())];

impl<const N: usize> Secret<N> {
    /// The secret; `None` if it is not set anywhere.
    pub fn get(&self) -> Option<String> {
        // SAFETY: null or a string that lives until the next assignment; copied at once.
        let set = unsafe { text_of(SECRETS[N].load(Relaxed)) };
        Some(set)
            .filter(|secret| !secret.is_empty())
            .or_else(|| std::env::var(self.environment).ok().filter(|secret| !secret.is_empty()))
    }
}

impl<const N: usize> Setting for Secret<N> {
    fn define(&'static self) {
        let About { name, short, long, context } = &self.about;
        // SAFETY: the hooks are guarded.
        unsafe {
            GucRegistry::define_string_guc_with_hooks(
                name,
                short,
                long,
                &self.value,
                (*context).into(),
                GucFlags::SUPERUSER_ONLY,
                Some(check_secret),
                Some(assign_secret::<N>),
                Some(show_secret::<N>),
            );
        }
    }
}

/// Moves the value into `extra` and leaves an empty string behind.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn check_secret(
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
    // SAFETY: a private copy of the value, null or terminated; `extra` becomes PostgreSQL's.
    unsafe {
        let text = text_of(*value);
        if text.chars().any(char::is_control) {
            refuse(Some("a secret holds no control characters"), "It was not accepted.", None);
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

/// A copy in the memory that PostgreSQL frees a setting's `extra` with.
unsafe fn guc_copy(text: &CStr) -> *mut c_char {
    let bytes = text.to_bytes_with_nul();
    // SAFETY: allocated with room for all bytes. Up to 15 the GUC machinery uses malloc.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        let copy = libc::malloc(bytes.len()).cast::<c_char>();
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        let copy = pg_sys::guc_malloc(pgrx::PgLogLevel::LOG as i32, bytes.len()).cast::<c_char>();
        if !copy.is_null() {
            std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), copy, bytes.len());
        }
        copy
    }
}

unsafe fn text_of(value: *const c_char) -> String {
    if value.is_null() {
        return String::new();
    }
    // SAFETY: the caller passes a terminated string.
    unsafe { CStr::from_ptr(value) }.to_string_lossy().into_owned()
}

/// Says why a value is refused (GUC_check_errmsg and its siblings).
fn refuse(message: Option<&str>, detail: &str, hint: Option<&str>) {
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

/// Keeps other settings of this prefix from being set by mistake.
pub fn reserve_prefix(prefix: &CStr) {
    // SAFETY: copied.
    unsafe {
        #[cfg(feature = "pg14")]
        pg_sys::EmitWarningsOnPlaceholders(prefix.as_ptr());
        #[cfg(not(feature = "pg14"))]
        pg_sys::MarkGUCPrefixReserved(prefix.as_ptr());
    }
}

/// The elements of a comma-separated list of identifiers; `None` if it is none.
pub fn split_list(list: &str) -> Option<Vec<String>> {
    let text = CString::new(list).ok()?;
    // SAFETY: SplitIdentifierString changes its (copied) argument; the list's cells point into it.
    unsafe {
        let raw = pg_sys::pstrdup(text.as_ptr());
        let mut names = std::ptr::null_mut();
        if !pg_sys::SplitIdentifierString(raw, b',' as c_char, &mut names) {
            return None;
        }
        let length = if names.is_null() { 0 } else { (*names).length };
        Some((0..length).map(|i| text_of(pg_sys::list_nth(names, i).cast())).collect())
    }
}

impl From<Context> for GucContext {
    fn from(context: Context) -> Self {
        match context {
            Context::Sighup => GucContext::Sighup,
            Context::Superuser => GucContext::Suset,
        }
    }
}
