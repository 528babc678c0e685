//! The result of a call for one task.

pub use pg_errand_calls::result::CallResult;
use serde_json::Value;

/// The response that is stored with a result.
pub fn response_of(result: &CallResult) -> Option<&Value> {
    match result {
        Ok(response) => Some(response),
        Err(failure) => failure.response.as_ref(),
    }
}

/// A mutable reference to the response that is stored with a result.
pub fn response_mut(result: &mut CallResult) -> Option<&mut Value> {
    match result {
        Ok(response) => Some(response),
        Err(failure) => failure.response.as_mut(),
    }
}
