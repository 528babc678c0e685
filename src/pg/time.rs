//! Intervals and times as PostgreSQL reads and writes them.

use pgrx::pg_sys;

/// True if an interval, as text, is longer than `limit`; a month counts as 30 days. Raises an error if the text is no
/// interval.
pub fn is_longer(interval: &str, limit: std::time::Duration) -> bool {
    let text = std::ffi::CString::new(interval).unwrap_or_default();
    // SAFETY: interval_in takes a terminated text, an oid and a number, and returns an interval.
    unsafe {
        let args = [
            Some(pg_sys::Datum::from(text.as_ptr())),
            Some(pg_sys::Datum::from(pg_sys::InvalidOid)),
            Some(pg_sys::Datum::from(-1i32)),
        ];
        let Some(value) = pgrx::direct_function_call_as_datum(pg_sys::interval_in, &args) else {
            return false;
        };
        length(value) > limit.as_micros() as i128
    }
}

/// The timestamptz of a text. Raises an error if it is none.
pub fn timestamptz(text: &str) -> Option<pg_sys::Datum> {
    let text = std::ffi::CString::new(text).unwrap_or_default();
    // SAFETY: timestamptz_in takes a terminated text, an oid and a number.
    unsafe {
        let args = [
            Some(pg_sys::Datum::from(text.as_ptr())),
            Some(pg_sys::Datum::from(pg_sys::InvalidOid)),
            Some(pg_sys::Datum::from(-1i32)),
        ];
        pgrx::direct_function_call_as_datum(pg_sys::timestamptz_in, &args)
    }
}

/// True if an interval is less than zero; a month counts as 30 days.
pub fn is_negative(interval: pg_sys::Datum) -> bool {
    // SAFETY: an interval, as the SQL function that received it declares.
    unsafe { length(interval) < 0 }
}

/// The length of an interval in microseconds.
unsafe fn length(interval: pg_sys::Datum) -> i128 {
    // SAFETY: an interval.
    let pg_sys::Interval { time, day, month } = unsafe { *interval.cast_mut_ptr() };
    let days = i128::from(month) * 30 + i128::from(day);
    i128::from(time) + days * 86_400_000_000
}

/// An interval as text.
pub fn interval_text(interval: pg_sys::Datum) -> String {
    // SAFETY: interval_out takes an interval, as the SQL function that received it declares, and returns a terminated text.
    unsafe {
        let text = pgrx::direct_function_call_as_datum(pg_sys::interval_out, &[Some(interval)]);
        text.map_or_else(String::new, |text| {
            std::ffi::CStr::from_ptr(text.cast_mut_ptr()).to_string_lossy().into_owned()
        })
    }
}

/// A time in microseconds since 2000-01-01 as text, in the time zone of the session or the log.
pub fn time_text(time: i64) -> String {
    // SAFETY: the terminated result is in a buffer that the next call reuses, and is copied.
    unsafe { std::ffi::CStr::from_ptr(pg_sys::timestamptz_to_str(time)) }.to_string_lossy().into_owned()
}
