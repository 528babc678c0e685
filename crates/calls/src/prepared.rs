//! A request that is ready to be stored.

use crate::key::{self, Key};
use crate::provider::Provider;
use crate::request::Request;
use crate::settings::Settings;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

pub struct Prepared {
    pub provider: Arc<Provider>,
    pub key: Key,
    pub request: Request,
}

impl Prepared {
    /// Builds the request from the payload that a `before_handler` returned, or from the request in the task's payload.
    /// `earlier`: the key of an earlier request that the provider may have carried out, which counts more than a given one.
    ///
    /// # Errors
    /// If the payload or the settings are invalid.
    pub fn new(
        provider: Arc<Provider>,
        settings: &dyn Settings,
        payload: &Value,
        earlier: Option<&str>,
    ) -> Result<Self, String> {
        let given = provider.interface.own_key(&provider, payload)?;
        let key = match earlier {
            Some(text) => Key { text: text.to_owned(), is_own: true },
            None => Key::of(given.as_ref())?,
        };
        // Only the interface http reads this field itself.
        let payload = match given.is_some() && !provider.interface.takes_request_from_payload() {
            true => Cow::Owned(without(payload, key::FIELD)),
            false => Cow::Borrowed(payload),
        };
        let mut request = provider.interface.request(&provider, settings, &payload, &key.text)?;
        if let Request::Http(request) = &mut request {
            request.has_own_key = key.is_own;
        }
        Ok(Prepared { provider, key, request })
    }
}

fn without(payload: &Value, field: &str) -> Value {
    let mut rest = payload.clone();
    rest.as_object_mut().and_then(|fields| fields.shift_remove(field));
    rest
}
