//! PostgreSQL 17 lets background workers connect as roles that cannot log in, and limits the duration of transactions.

use std::ffi::CStr;

/// The flags with which a background worker connects as a role, whether or not the role may log in if possible.
#[cfg(any(feature = "pg15", feature = "pg16"))]
pub const CONNECT_FLAGS: u32 = 0;
/// The flags with which a background worker connects as a role, whether or not the role may log in if possible.
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
pub const CONNECT_FLAGS: u32 = pgrx::pg_sys::BGWORKER_BYPASS_ROLELOGINCHECK;

/// The settings that would end a worker with the transaction of a handler, with their harmless values.
#[cfg(any(feature = "pg15", feature = "pg16"))]
pub const FATAL_LIMITS: &[(&CStr, &CStr)] = &[];
/// The settings that would end a worker with the transaction of a handler, with their harmless values.
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
pub const FATAL_LIMITS: &[(&CStr, &CStr)] = &[(c"transaction_timeout", c"0")];
