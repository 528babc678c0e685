//! The result of a call for one task.

use serde_json::Value;

/// What the success handler is given, or why there is nothing.
pub type CallResult = Result<Value, CallFailure>;

/// Why a call has failed.
pub struct CallFailure {
    /// Names the provider.
    pub message: String,
    /// The provider's response, if there was one.
    pub response: Option<Value>,
}

impl From<String> for CallFailure {
    fn from(message: String) -> Self {
        CallFailure { message, response: None }
    }
}

/// The response that is stored with a result.
pub fn response_of(result: &CallResult) -> Option<&Value> {
    match result {
        Ok(response) => Some(response),
        Err(failure) => failure.response.as_ref(),
    }
}

/// The response that is stored with a result, for changes.
pub fn response_mut(result: &mut CallResult) -> Option<&mut Value> {
    match result {
        Ok(response) => Some(response),
        Err(failure) => failure.response.as_mut(),
    }
}
