use crate::pg::jsonb;
use crate::pg::jsonb_size::{Count, is_longer, is_longer_in};
use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use super::*;

    /// The length of the text as PostgreSQL makes it.
    fn length(text: &str) -> usize {
        jsonb::to_text(jsonb::from_text(text), usize::MAX).unwrap().len()
    }

    #[pg_test]
    fn a_text_is_measured_as_long_as_it_is() {
        for text in [
            "1",
            "[]",
            "{}",
            "null",
            "[1, 22, 333, 4444, 55555, 123456789012345678]",
            "[0, -0.5, -12345, 0.00001, 1.50, 100000000, 1e20, -1e-20, 1e300, 1e131071, 0.0000000000000000000000001]",
            r#"{"a": {"b": [true, false, null]}, "é\"\\": "tab\t\u0001 \u0008 end", "": ""}"#,
        ] {
            let (jsonb, length) = (jsonb::from_text(text), length(text));
            // A scalar stands in an array of its own; behind each bracket there may be a comma, and a boolean
            // counts as the longer one.
            let slack = 6 + 2 * text.matches(['[', '{', 't', 'f', 'n']).count();
            // What is small is not looked into unless the limit is, too.
            assert!(length < 10 || is_longer(jsonb, length - 10), "{text} {length}");
            assert!(!is_longer(jsonb, length + slack), "{text} {length}");
        }
    }

    #[pg_test]
    fn each_number_is_measured_as_long_as_it_is() {
        for sign in ["", "-"] {
            for digits in [
                "1", "9", "12", "999", "1234", "98765", "100000", "7e40", "1e-40", "3.10", "5e16000",
                "2e-16000",
            ] {
                let number = format!("{sign}{digits}");
                let (jsonb, length) = (jsonb::from_text(&number), length(&number));
                // A scalar stands in an array of its own: two brackets, and what would be behind each of the three.
                assert!(is_longer(jsonb, length - 1) && !is_longer(jsonb, length + 6), "{number} {length}");
            }
        }
    }

    #[pg_test]
    fn numbers_that_explode_are_found_in_little_time_at_any_depth() {
        let numbers = vec!["1e131071"; 7000].join(",");
        for text in [format!("[{numbers}]"), format!("{}{numbers}{}", "[".repeat(1000), "]".repeat(1000))] {
            let jsonb = jsonb::from_text(&text);
            assert!(is_longer(jsonb, 256 << 20) && is_longer(jsonb, 900_000_000));
            assert!(!is_longer(jsonb, 920_000_000));
        }
        let escapes = jsonb::from_text(&format!(r#""{}""#, r"\u0001".repeat(1000)));
        assert!(is_longer(escapes, 5999) && !is_longer_in(Count::Content, escapes, 1010));
    }
}
