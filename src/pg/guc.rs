//! Settings (GUCs): one value of one of these types is a setting, its definition and its access.

use super::majors::since_16;
use pgrx::guc::{GucContext, GucEnum, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;
use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_void};
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

impl About {
    /// Registers a text setting.
    ///
    /// # Safety
    /// The hooks let no panic out.
    pub(super) unsafe fn define_string(
        &self,
        value: &'static GucSetting<Option<CString>>,
        flags: GucFlags,
        check: pg_sys::GucStringCheckHook,
        assign: pg_sys::GucStringAssignHook,
        show: pg_sys::GucShowHook,
    ) {
        let context = self.context.into();
        // SAFETY: on the caller's promise.
        unsafe {
            GucRegistry::define_string_guc_with_hooks(
                self.name, self.short, self.long, value, context, flags, check, assign, show,
            );
        }
    }
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

    fn about(&self) -> &About;

    /// True if its value must never be shown.
    fn is_secret(&self) -> bool {
        false
    }
}

#[derive(Clone, Copy)]
pub enum Unit {
    None,
    Milliseconds,
    Seconds,
    Bytes,
}

/// An integer, a span of time, or a size.
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
            Unit::Bytes => GucFlags::UNIT_BYTE,
        }
    }

    /// The value as a span of time; zero or less: none.
    pub fn duration(&self) -> Duration {
        let value = self.get().max(0) as u64;
        match self.unit {
            Unit::Seconds => Duration::from_secs(value),
            Unit::None | Unit::Milliseconds | Unit::Bytes => Duration::from_millis(value),
        }
    }
}

impl Setting for Int {
    fn about(&self) -> &About {
        &self.about
    }

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

/// On or off.
pub struct Switch {
    pub about: About,
    pub value: GucSetting<bool>,
}

impl Switch {
    pub fn is_on(&self) -> bool {
        self.value.get()
    }
}

impl Setting for Switch {
    fn about(&self) -> &About {
        &self.about
    }

    fn define(&'static self) {
        let About { name, short, long, context } = &self.about;
        GucRegistry::define_bool_guc(name, short, long, &self.value, (*context).into(), GucFlags::empty());
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
    fn about(&self) -> &About {
        &self.about
    }

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
    fn about(&self) -> &About {
        &self.about
    }

    fn define(&'static self) {
        // SAFETY: the hook is guarded, see `check_hook`.
        unsafe { self.about.define_string(&self.value, GucFlags::empty(), self.check, None, None) }
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

/// A setting's value by its name; `None` if there is no such setting.
pub fn value(name: &str) -> Option<String> {
    let name = CString::new(name).ok()?;
    // SAFETY: a string that lives until the next change, copied at once.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        (!value.is_null()).then(|| text_of(value))
    }
}

/// The record of a setting that PostgreSQL has defined.
///
/// # Safety
/// Main thread; used before the next record is asked for.
pub(super) unsafe fn record<'a>(name: &CStr) -> Option<&'a mut pg_sys::config_generic> {
    // SAFETY: the records are this process's own, and live as long as it.
    unsafe { since_16::setting(name).as_mut() }
}

/// A text as on or off, as PostgreSQL reads it.
pub fn boolean(text: &str) -> Option<bool> {
    let text = CString::new(text).ok()?;
    let mut value = false;
    // SAFETY: reads the text and writes the value.
    unsafe { pg_sys::parse_bool(text.as_ptr(), &mut value) }.then_some(value)
}

/// `default_transaction_read_only`, in a process that has not changed it: what the configuration says.
pub fn is_read_only() -> bool {
    // SAFETY: a plain setting.
    unsafe { pg_sys::DefaultXactReadOnly }
}

/// From here on no statement of this process changes the setting: not SET, set_config() or a function's SET clause.
pub fn fix(name: &CStr) {
    // SAFETY: main thread. Its context says who may set it, and values that are put back at the end of a transaction
    // are not asked for that (guc.c).
    if let Some(record) = unsafe { record(name) } {
        record.context = pg_sys::GucContext::PGC_INTERNAL;
    }
}

/// Says why a value is refused (GUC_check_errmsg and its siblings).
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

/// Keeps other settings of this prefix from being set by mistake.
pub fn reserve_prefix(prefix: &CStr) {
    // SAFETY: copied.
    unsafe {
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
