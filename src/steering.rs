//! What people do to tasks: who has called which function is logged.

use crate::config::LogLevel;
use crate::pg::{backend, ident, log};

/// Logs a call of a function that steers tasks. `arguments`: as SQL, without secrets.
pub fn log(function: &str, arguments: &str, tasks: i64) {
    let role = ident::quote(&backend::user_name());
    log::event(
        LogLevel::Info,
        format!("queues.{function}({}) by role {role}: {tasks} tasks", in_one_line(arguments)),
    );
}

/// Logs a message that may contain what users have written.
pub fn tell(message: &str) {
    log::event(LogLevel::Info, in_one_line(message));
}

/// A text whose line breaks do not begin a line of the log.
fn in_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_argument_begins_a_line_of_the_log() {
        assert_eq!(super::in_one_line("'a\nLOG:  b\r\t'"), "'a LOG:  b  '");
    }
}
