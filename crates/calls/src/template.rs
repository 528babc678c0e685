//! Templates in JSON: `{{path.to.field}}` in a string stands for a value of the input, and `{{}}` for the whole input.

use serde_json::{Map, Value};

/// Fills in a template. A string that consists of one placeholder becomes the value itself; without such a value, its
/// field is left out. In a longer string, values are inserted as text.
///
/// # Errors
/// If a value in a longer string is missing or is not text.
pub fn fill(template: &Value, input: &Value) -> Result<Value, String> {
    Ok(filled(template, input)?.unwrap_or(Value::Null))
}

/// Checks that each `{{` in a template has its `}}`.
///
/// # Errors
/// If a string lacks it.
pub fn check(template: &Value) -> Result<(), String> {
    let mut problem = Ok(());
    for_each_text(template, &mut |text| {
        if problem.is_ok() && paths(text).any(|path| path.is_none()) {
            problem =
                Err(format!("\"{{{{\" without \"}}}}\" in \"{}\"", &text[..text.floor_char_boundary(100)]));
        }
    });
    problem
}

/// Returns the first steps of all paths in a template.
pub fn first_steps(template: &Value) -> Vec<String> {
    let mut steps = Vec::new();
    for_each_text(template, &mut |text| {
        let first = |path: &str| path.trim().split('.').next().unwrap_or_default().to_owned();
        steps.extend(paths(text).flatten().map(first).filter(|step| !step.is_empty()));
    });
    steps
}

fn for_each_text(template: &Value, body: &mut dyn FnMut(&str)) {
    match template {
        Value::String(text) => body(text),
        Value::Array(items) => items.iter().for_each(|item| for_each_text(item, body)),
        Value::Object(fields) => fields.values().for_each(|field| for_each_text(field, body)),
        _ => {}
    }
}

/// Returns the texts between `{{` and `}}`; the last one is `None` if it has no end.
fn paths(text: &str) -> impl Iterator<Item = Option<&str>> {
    let mut rest = text.split_once("{{").map(|(_, after)| after);
    std::iter::from_fn(move || {
        let begun = rest.take()?;
        let Some((path, after)) = begun.split_once("}}") else { return Some(None) };
        rest = after.split_once("{{").map(|(_, after)| after);
        Some(Some(path))
    })
}

fn filled(template: &Value, input: &Value) -> Result<Option<Value>, String> {
    Ok(match template {
        Value::String(text) => match only_placeholder(text) {
            Some(path) => find(input, path).cloned(),
            None => Some(Value::String(insert(text, input, &mut |value| value)?)),
        },
        Value::Array(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| filled(item, input)).collect();
            Some(items?.into_iter().flatten().collect())
        }
        Value::Object(fields) => {
            let mut object = Map::new();
            for (name, field) in fields {
                if let Some(value) = filled(field, input)? {
                    object.insert(name.clone(), value);
                }
            }
            Some(Value::Object(object))
        }
        other => Some(other.clone()),
    })
}

/// Inserts values into a text, each one changed by `escape`.
///
/// # Errors
/// If a value is missing or is not text.
pub fn insert(text: &str, input: &Value, escape: &mut dyn FnMut(String) -> String) -> Result<String, String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((path, after)) = after.split_once("}}") else { return Err("\"{{\" without \"}}\"".into()) };
        let value = match find(input, path.trim()) {
            Some(Value::String(value)) => value.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => return Err(format!("the value of {{{{{}}}}} has to be a text or a number", path.trim())),
        };
        result.push_str(before);
        result.push_str(&escape(value));
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}

/// Returns the path, if the text consists of one placeholder.
fn only_placeholder(text: &str) -> Option<&str> {
    let path = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!path.contains("{{")).then(|| path.trim())
}

fn find<'a>(input: &'a Value, path: &str) -> Option<&'a Value> {
    if matches!(path, "" | ".") {
        return Some(input);
    }
    path.split('.').try_fold(input, |value, step| match value {
        Value::Object(fields) => fields.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_keep_their_type_and_missing_ones_leave_no_field() {
        let input = json!({ "a": { "b": [1, "x"] }, "n": null });
        let template = json!({ "one": "{{a.b.0}}", "all": "{{ a }}", "no": "{{a.c}}", "null": "{{n}}", "list": ["{{a.b.1}}", "{{q}}"], "fixed": 7 });
        let expected = json!({ "one": 1, "all": { "b": [1, "x"] }, "null": null, "list": ["x"], "fixed": 7 });
        assert_eq!(fill(&template, &input).unwrap(), expected);
        assert_eq!(fill(&json!("{{}}"), &input).unwrap(), input);
    }

    #[test]
    fn what_is_opened_has_to_be_closed() {
        for fine in [json!("}} {{a}} b {{c}}"), json!({ "x": ["{{}}", 1, null] }), json!("{{a}}}}")] {
            assert_eq!(check(&fine), Ok(()), "{fine}");
        }
        for bad in [json!("{{"), json!("{{a}} {{b"), json!({ "x": [1, "{{a}"] })] {
            assert!(check(&bad).is_err(), "{bad}");
        }
        assert_eq!(first_steps(&json!({ "x": "{{ a.b }}{{c}}", "y": ["{{}}", "{{d.0}}"] })), ["a", "c", "d"]);
    }

    #[test]
    fn within_a_text_values_are_texts() {
        let input = json!({ "name": "Ann", "n": 3, "o": {} });
        assert_eq!(fill(&json!("Hi {{name}}, {{n}}!"), &input).unwrap(), json!("Hi Ann, 3!"));
        for bad in ["x {{who}}", "x {{o}}", "x {{name"] {
            assert!(fill(&json!(bad), &input).is_err(), "{bad}");
        }
        // Inserted text is not filled in again.
        assert_eq!(fill(&json!("a {{v}}"), &json!({ "v": "{{name}}" })).unwrap(), json!("a {{name}}"));
    }
}
