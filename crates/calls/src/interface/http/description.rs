//! The fields that describe a request.

use super::url;
use crate::provider_row::ProviderRow;
use crate::template;
use serde_json::{Map, Value};

/// Returns the fields of the request: those of the payload, or the result of the provider's template.
pub fn read(provider: &ProviderRow, payload: &Value) -> Result<Map<String, Value>, String> {
    let described = match &provider.request {
        None => payload.clone(),
        Some(Value::Object(fields)) => {
            let mut rest = fields.clone();
            // A value that is inserted into a path remains one segment of it, and does not change the host.
            let path = rest.shift_remove("path");
            let mut filled = template::fill(&Value::Object(rest), payload)?;
            if let Some(Value::String(path)) = path {
                filled["path"] = url::fill_path(&path, payload)?.into();
            }
            if let Some(Value::String(url)) = fields.get("url")
                && let Some(url) = url::fill_url(url, payload)?
            {
                filled["url"] = url.into();
            }
            filled
        }
        Some(_) => return Err("the provider's request has to be an object".into()),
    };
    match described {
        Value::Object(fields) => Ok(fields),
        _ => Err("the request has to be an object with method, url, headers, query, body …".into()),
    }
}
