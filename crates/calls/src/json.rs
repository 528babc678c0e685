//! Reads JSON. serde_json's own reader is recursive, up to 128 levels deep, and with numbers of any precision it would
//! interpret users' objects that have one of its private keys.

use json_event_parser::{JsonEvent, JsonSyntaxError, SliceJsonParser};
use serde_json::{Map, Value};
use std::fmt;

/// The deepest nesting that is read. Values are compared, filled in and written by recursion, on the stacks of threads.
pub const MAX_DEPTH: usize = 1000;

/// The reason why a text cannot be read as JSON.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place of the error, without any part of the text.
    pub place: String,
    /// What is wrong at this place. It may contain a character of the text.
    reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.place)
    }
}

impl From<Problem> for String {
    fn from(problem: Problem) -> String {
        problem.to_string()
    }
}

/// An array or object whose end has not been read.
enum Open {
    Array(Vec<Value>),
    /// The fields so far, and the name of the field whose value comes next.
    Object(Map<String, Value>, String),
}

/// Reads a JSON text. Numbers keep their digits. Of fields with the same name the last one counts, as in jsonb.
///
/// # Errors
/// If the text is not valid JSON; the error states the place and the reason.
pub fn read(text: impl AsRef<[u8]>) -> Result<Value, Problem> {
    let mut parser = SliceJsonParser::new(text.as_ref());
    let (mut open, mut whole) = (Vec::new(), Value::Null);
    loop {
        let value = match parser.parse_next().map_err(problem)? {
            JsonEvent::StartArray => {
                begin(&mut open, Open::Array(Vec::new()))?;
                continue;
            }
            JsonEvent::StartObject => {
                begin(&mut open, Open::Object(Map::new(), String::new()))?;
                continue;
            }
            JsonEvent::ObjectKey(key) => {
                if let Some(Open::Object(_, name)) = open.last_mut() {
                    *name = key.into_owned();
                }
                continue;
            }
            JsonEvent::EndArray | JsonEvent::EndObject => match open.pop() {
                Some(Open::Array(items)) => Value::Array(items),
                Some(Open::Object(fields, _)) => Value::Object(fields),
                None => Value::Null,
            },
            JsonEvent::String(text) => Value::String(text.into_owned()),
            JsonEvent::Number(digits) => digits.parse().map(Value::Number).map_err(|_| Problem {
                place: "a number".into(),
                reason: "invalid JSON: a number that cannot be read".into(),
            })?,
            JsonEvent::Boolean(value) => Value::Bool(value),
            JsonEvent::Null => Value::Null,
            JsonEvent::Eof => return Ok(whole),
        };
        match open.last_mut() {
            None => whole = value,
            Some(Open::Array(items)) => items.push(value),
            Some(Open::Object(fields, name)) => drop(fields.insert(std::mem::take(name), value)),
        }
    }
}

fn begin(open: &mut Vec<Open>, new: Open) -> Result<(), Problem> {
    if open.len() == MAX_DEPTH {
        return Err(Problem {
            place: format!("level {}", MAX_DEPTH + 1),
            reason: format!("the JSON is nested too deeply: {MAX_DEPTH} levels are read"),
        });
    }
    open.push(new);
    Ok(())
}

fn problem(error: JsonSyntaxError) -> Problem {
    let at = error.location().start;
    let mut letters = error.message().chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    let message: String = first.into_iter().chain(letters).collect();
    Problem {
        place: format!("line {}, column {}", at.line + 1, at.column + 1),
        reason: format!("invalid JSON: {message}"),
    }
}

/// True if a value is nested more deeply than allowed.
pub fn is_deeper(value: &Value, levels: usize) -> bool {
    let is_below = |inner: &Value| is_deeper(inner, levels - 1);
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(is_below),
        Value::Object(fields) => levels == 0 || fields.values().any(is_below),
        _ => false,
    }
}

/// Takes fields with arbitrary JSON out of an object, before the other fields are read into a type.
pub fn take<const N: usize>(object: &mut Value, names: [&str; N]) -> [Option<Value>; N] {
    let mut fields = object.as_object_mut();
    names.map(|name| fields.as_mut()?.shift_remove(name).filter(|value| !value.is_null()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nested(levels: usize) -> String {
        format!("{}{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn values_are_what_the_text_says() {
        let text = r#" {"b": [1, -0.50, 1e5, 12345678901234567890.123, {}], "a": "ü\ud83e\udd80\n", "t": [true, false, null, []]} "#;
        let value = read(text).unwrap();
        let written =
            r#"{"b":[1,-0.50,1e5,12345678901234567890.123,{}],"a":"ü🦀\n","t":[true,false,null,[]]}"#;
        assert_eq!(value.to_string().replace("1e+5", "1e5"), written);
        for (text, value) in
            [("1", json!(1)), ("\"x\"", json!("x")), ("null", json!(null)), ("[]", json!([]))]
        {
            assert_eq!(read(text), Ok(value), "{text}");
        }
        // The result is the same as that of serde_json where its reader is sufficient.
        assert_eq!(read(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(read(r#"{"a": 1, "b": 2, "a": 3}"#).unwrap().to_string(), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn no_key_has_a_meaning() {
        for key in ["$serde_json::private::Number", "$serde_json::private::RawValue"] {
            for content in ["\"17\"", "\"[1]\"", "{}", "7"] {
                let text = format!("{{\"a\":{{\"{key}\":{content}}}}}");
                assert_eq!(read(&text).unwrap().to_string(), text);
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_where() {
        for (text, reason, place) in [
            ("", "end of file", "line 1, column 1"),
            ("{\"a\": 1,\n \"b\": ?}", "unexpected char: '?'", "line 2, column 7"),
            ("[1, 2", "must be followed by a comma", "line 1, column 6"),
            ("{\"a\" 1}", "invalid JSON", "line 1, column 6"),
            ("[1] x", "invalid JSON", "line 1, column 5"),
            ("\"abc", "end of file", "line 1"),
            ("nul", "invalid JSON", "line 1"),
            ("01", "already contains", "line 1, column 2"),
            ("[1,]", "railing", "line 1, column 4"),
            ("\"\\ud800\"", "invalid JSON", "line 1"),
        ] {
            let problem = read(text).unwrap_err().to_string();
            assert!(problem.contains(reason) && problem.contains(place), "{text:?}: {problem}");
        }
        assert!(read(b"\"\xff\"").is_err());
    }

    #[test]
    fn nesting_is_read_up_to_a_limit_that_is_named() {
        let deepest = read(nested(MAX_DEPTH)).unwrap();
        assert_eq!(deepest.clone().to_string(), nested(MAX_DEPTH));
        for levels in [MAX_DEPTH + 1, 1_000_000] {
            let problem = read(nested(levels)).unwrap_err().to_string();
            assert!(problem.contains("1000 levels"), "{problem}");
        }
    }

    #[test]
    fn levels_are_counted() {
        for levels in [1, 2, 7] {
            let value = read(format!("{{\"a\":1,\"b\":{}}}", nested(levels))).unwrap();
            assert!(is_deeper(&value, levels) && !is_deeper(&value, levels + 1), "{value}");
        }
        assert!(!is_deeper(&json!("x"), 0) && is_deeper(&json!({}), 0));
    }

    #[test]
    fn fields_of_the_user_s_own_are_taken_out() {
        let mut row = json!({ "a": 1, "b": null, "c": { "d": 2 } });
        assert_eq!(take(&mut row, ["c", "b", "x"]), [Some(json!({ "d": 2 })), None, None]);
        assert_eq!(row, json!({ "a": 1 }));
    }
}
