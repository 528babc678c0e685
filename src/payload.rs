//! Checks of a task's id and payload.

use crate::config::MAX_PAYLOAD_SIZE;
use crate::pg::jsonb_field::each_key;
use crate::pg::jsonb_size::is_longer;
use crate::pg::log;
use pg_errand_calls::nearest::nearest;
use pgrx::{PgSqlErrorCode, pg_sys};
use std::ops::RangeInclusive;

/// Raises an error if a task cannot have this id. In shared memory, 0 means that there is no task.
pub fn check_id(task_id: i64) {
    if task_id == 0 {
        log::refuse(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "a task cannot have the id 0".into(),
            "Leave task_id out to have the next id assigned.".into(),
        );
    }
}

/// Raises an error if a payload is larger than the setting allows. Its size is that of its text in a dump.
pub fn check_size(payload: pg_sys::Datum) {
    let limit = MAX_PAYLOAD_SIZE.get();
    if is_longer(payload, limit as usize) {
        log::refuse(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("the payload has more than {limit} bytes as text"),
            "Enqueue less, for instance the key of a row that holds it, or raise pg_errand.max_payload_size."
                .into(),
        );
    }
}

/// The keys of a payload that name handlers.
const HANDLERS: [&str; 4] = ["db_function", "before_handler", "success_handler", "error_handler"];
/// The lengths of keys that differ from one of these by up to two letters.
const LENGTHS: RangeInclusive<usize> = 9..=17;

/// Warns of keys that nearly are the name of a handler: workers ignore other keys, so a misspelt handler would silently
/// never be invoked.
pub fn warn_of_keys(payload: pg_sys::Datum) {
    let mut found = Vec::new();
    each_key(payload, LENGTHS, |key| {
        if let Ok(key) = str::from_utf8(key)
            && let Some(name) = nearly(key)
        {
            found.push((key.to_owned(), name));
        }
    });
    for (key, name) in found {
        log::warn(
            format!("key \"{key}\" of the payload names no handler"),
            format!("Perhaps you meant \"{name}\"."),
        );
    }
}

/// The name of the handler of which `key` is probably a misspelling.
fn nearly(key: &str) -> Option<&'static str> {
    if HANDLERS.contains(&key) { None } else { nearest(key, HANDLERS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_nearly_the_name_of_a_handler_is_taken_for_one() {
        for (key, name) in [
            ("sucess_handler", "success_handler"),
            ("succes_handler", "success_handler"),
            ("on_success_handler", ""),
            ("successHandler", "success_handler"),
            ("error-handler", "error_handler"),
            ("errorhandler", "error_handler"),
            ("ErrorHandler", "error_handler"),
            ("before_handlre", "before_handler"),
            ("dbfunction", "db_function"),
            ("DB_FUNCTION", "db_function"),
            ("db_funciton", "db_function"),
            ("db_function", ""),
            ("success_handler", ""),
            ("my_function", ""),
            ("handler", ""),
            ("function", ""),
            ("message_id", ""),
            ("description", ""),
            ("error_message", ""),
            ("", ""),
        ] {
            assert_eq!(nearly(key).unwrap_or_default(), name, "{key}");
        }
    }
}
