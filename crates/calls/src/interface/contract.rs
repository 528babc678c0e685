//! The contract of interfaces.

use crate::credential::Credential;
use crate::key;
use crate::provider_row::ProviderRow;
use crate::request::Request;
use crate::response::Response;
use crate::settings::Settings;
use serde_json::Value;
use std::time::Duration;

/// The protocol of a provider. `queues.provider.interface` names one.
///
/// An interface consists of pure functions: it turns a payload into a request, and a response into a value or a reason.
/// It sends nothing itself.
pub trait Interface: Sync {
    /// The name in `queues.provider.interface`.
    fn name(&self) -> &'static str;

    /// Checks whether the settings allow a request, whatever the payload is.
    ///
    /// # Errors
    /// If a setting is missing or wrong.
    fn check_settings(&self, _provider: &ProviderRow, _settings: &dyn Settings) -> Result<(), String> {
        Ok(())
    }

    /// Checks whether the secret of the provider can be looked up, without which no request is sent.
    ///
    /// # Errors
    /// If it cannot; the message does not contain it.
    fn check_secret(&self, provider: &ProviderRow, settings: &dyn Settings) -> Result<(), String>;

    /// Builds the request from what a `before_handler` returned. `key` is the idempotency key. The request is stored and,
    /// after a crash, sent again, so it must not contain credentials.
    ///
    /// # Errors
    /// If the payload or the settings are invalid.
    fn request(
        &self,
        provider: &ProviderRow,
        settings: &dyn Settings,
        payload: &Value,
        key: &str,
    ) -> Result<Request, String>;

    /// Returns the credentials that are added when `request` is sent.
    ///
    /// # Errors
    /// If a setting or a secret is missing.
    fn credentials(
        &self,
        provider: &ProviderRow,
        settings: &dyn Settings,
        request: &Request,
    ) -> Result<Vec<Credential>, String>;

    /// Decides whether `response` means that `request` was carried out.
    ///
    /// # Errors
    /// If it was not; the message is the provider's reason.
    fn judge(
        &self,
        provider: &ProviderRow,
        request: &Request,
        response: &Response,
    ) -> Result<Success, String>;

    /// True if the response states that a request with the same key is being processed at this moment.
    fn is_in_progress(&self, _response: &Response) -> bool {
        false
    }

    /// Returns the idempotency key that the user has chosen, if any.
    ///
    /// # Errors
    /// If the key cannot be filled in, or the provider does not support keys.
    fn own_key(&self, _provider: &ProviderRow, payload: &Value) -> Result<Option<Value>, String> {
        Ok(payload.get(key::FIELD).cloned())
    }

    /// How long the provider recognizes an idempotency key. Zero means that it does not, so that an interrupted request
    /// is not sent again.
    fn remembers_keys_for(&self, provider: &ProviderRow) -> Duration;

    /// The base URL from a setting. Only a superuser can change it, so it may lead to a private network.
    fn base_url_of_superuser(&self, _settings: &dyn Settings) -> Option<String> {
        None
    }

    /// Identifies the account that the settings name, which may differ between databases.
    fn account_of_settings(&self, settings: &dyn Settings) -> String {
        self.base_url_of_superuser(settings).unwrap_or_default()
    }

    /// How the interface sends several calls as one request, if it can.
    fn batching(&self) -> Option<&'static dyn Batching> {
        None
    }

    /// True if the task's payload may contain the request itself (`request`), without a `before_handler`.
    fn takes_request_from_payload(&self) -> bool {
        false
    }
}

/// The result of a request that was carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum Success {
    /// The value for the success handler.
    Value(Value),
    /// The response is incomplete or malformed, for this reason. The success handler receives the available part.
    Flawed(String),
}

/// How an interface sends a batch: several calls as one request.
pub trait Batching: Sync {
    /// The largest number of calls in one batch.
    fn max_size(&self) -> u32;

    /// True if this request can be part of a batch.
    fn takes(&self, request: &Request) -> bool;

    /// Builds the request of a batch. The same `requests` and `key` always give the same request.
    fn request(&self, requests: &[&Request], key: &str) -> Request;

    /// Splits the response to a batch of this many requests.
    fn split(&self, response: &Response, requests: usize) -> BatchResponse;
}

/// The meaning of the response to a batch.
#[derive(Debug)]
pub enum BatchResponse {
    /// The response to each of the requests, in their order.
    Each(Vec<Response>),
    /// The provider has carried out nothing. Each request may be accepted on its own.
    Refused,
}
