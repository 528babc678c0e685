//! Settings (GUCs). A value of one of these types is the definition of a setting and gives access to its value.

pub(super) use super::guc_access::record;
pub use super::guc_access::{boolean, fix, is_read_only, reserve_prefix, split_list, value};
pub use super::guc_check::{Check, check_hook};
pub(super) use super::guc_check::{refuse, text_of};
use pgrx::guc::{GucContext, GucEnum, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;
use std::ffi::{CStr, CString};
use std::time::Duration;

/// The properties that all settings have.
pub struct About {
    /// The full name, including `pg_errand.`.
    pub name: &'static CStr,
    /// One sentence, for `pg_settings.short_desc`.
    pub short: &'static CStr,
    /// More sentences, for `pg_settings.extra_desc`.
    pub long: &'static CStr,
    pub context: Context,
}

impl About {
    /// Registers a text setting.
    ///
    /// # Safety
    /// No panic may leave the hooks.
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
    /// Set in configuration files only; changes take effect at a reload.
    Sighup,
    /// Set by superusers and roles with SET privilege, also for a database or role.
    Superuser,
}

/// A setting that can be defined. [`crate::config`] lists all settings.
pub trait Setting: Sync {
    /// Registers the setting with PostgreSQL; once, while the library is loaded.
    fn define(&'static self);

    fn about(&self) -> &About;

    /// True if the value must never be shown.
    fn is_secret(&self) -> bool {
        false
    }

    /// True for a secret that is set.
    fn is_set_secret(&self) -> bool {
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

/// A number, a duration or a size.
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

    /// Parses a value as a user writes it, with or without a unit.
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

    /// The value as a duration; zero if it is negative.
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

/// A boolean.
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

/// An enumeration.
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

/// A text, with an optional check.
pub struct Text {
    pub about: About,
    pub value: GucSetting<Option<CString>>,
    /// The [`check_hook`] of the rule for this setting.
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

impl From<Context> for GucContext {
    fn from(context: Context) -> Self {
        match context {
            Context::Sighup => GucContext::Sighup,
            Context::Superuser => GucContext::Suset,
        }
    }
}
