//! A line of the log about a task, a call or a provider: what has happened, and fields. It has two forms, text for people
//! and a JSON object for programs.

use pg_errand_queue::TaskId;
use serde_json::{Map, Value};
use std::fmt::Write;
use std::time::Duration;

/// What has happened, and what it concerns.
#[must_use]
pub struct Line {
    event: &'static str,
    fields: Vec<Field>,
    /// What to do.
    pub hint: Option<String>,
}

struct Field {
    name: &'static str,
    value: Value,
    /// The text is quoted, since it may contain any character.
    is_quoted: bool,
}

impl Line {
    /// `event`: a constant text by which programs find such lines, such as `task failed`.
    pub fn new(event: &'static str) -> Self {
        Line { event, fields: Vec::new(), hint: None }
    }

    /// Adds the number of the task.
    pub fn with_task(self, id: TaskId) -> Self {
        self.with("task_id", id.get())
    }

    /// Adds a number, or a name: it is quoted only if it could be mistaken for something else.
    pub fn with(self, name: &'static str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let is_quoted = value.as_str().is_some_and(|text| !is_plain(text));
        self.push(Field { name, value, is_quoted })
    }

    /// Adds a text.
    pub fn with_text(self, name: &'static str, text: &str) -> Self {
        self.push(Field { name, value: text.into(), is_quoted: true })
    }

    /// Adds JSON, which may be cut off. The text shows it as it is.
    pub fn with_json(self, name: &'static str, json: &str) -> Self {
        self.push(Field { name, value: json.into(), is_quoted: false })
    }

    /// Adds a duration in milliseconds.
    pub fn with_duration(self, name: &'static str, duration: Duration) -> Self {
        self.with(name, u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// Changes the line if there is a value.
    pub fn with_any<T>(self, value: Option<T>, add: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => add(self, value),
            None => self,
        }
    }

    /// Says what to do.
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Line { hint: Some(hint.into()), ..self }
    }

    fn push(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    /// The event, and fields as `name=value`, in one line.
    pub fn text(&self) -> String {
        let mut text = self.event.to_owned();
        for Field { name, value, is_quoted } in &self.fields {
            let _ = match value.as_str() {
                Some(shown) if *is_quoted => write!(text, " {name}={shown:?}"),
                Some(shown) => write!(text, " {name}={shown}"),
                None => write!(text, " {name}={value}"),
            };
        }
        text
    }

    /// An object of the fields, and `event`.
    pub fn json(&self) -> String {
        let event = ("event".to_owned(), self.event.into());
        let fields = self.fields.iter().map(|field| (field.name.to_owned(), field.value.clone()));
        Value::Object(std::iter::once(event).chain(fields).collect::<Map<_, _>>()).to_string()
    }
}

/// True of a name that ends where the next field begins.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '=' | '\\'))
}

#[cfg(test)]
mod tests {
    use super::Line;
    use pg_errand_queue::TaskId;
    use serde_json::{Value, json};
    use std::time::Duration;

    #[test]
    fn fields_are_shown_as_text_and_as_json() {
        let line = Line::new("task failed")
            .with_task(TaskId::new(7))
            .with("task_type", "email")
            .with_text("handler", "public.send")
            .with_any(None::<&str>, |line, trace| line.with("traceparent", trace))
            .with_any(Some(503), |line, status| line.with("status", status))
            .with_duration("pause_ms", Duration::from_secs(2))
            .with_json("body", r#"{"a": "b c"#);
        assert_eq!(
            line.text(),
            r#"task failed task_id=7 task_type=email handler="public.send" status=503 pause_ms=2000 body={"a": "b c"#
        );
        let object = json!({
            "event": "task failed", "task_id": 7, "task_type": "email", "handler": "public.send", "status": 503,
            "pause_ms": 2000, "body": r#"{"a": "b c"#
        });
        assert_eq!(line.json().parse::<Value>().unwrap(), object);
    }

    #[test]
    fn no_name_looks_like_another_field_or_begins_a_line() {
        for (name, shown) in [
            ("a b", r#"x name="a b""#),
            ("a\nLOG:  b", r#"x name="a\nLOG:  b""#),
            ("a=b", r#"x name="a=b""#),
            ("", r#"x name="""#),
            ("Ü-1.b", "x name=Ü-1.b"),
        ] {
            let line = Line::new("x").with("name", name);
            assert_eq!(line.text(), shown);
            assert_eq!(line.json().parse::<Value>().unwrap()["name"], name);
        }
    }
}
