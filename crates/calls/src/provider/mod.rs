//! A provider: a row of `queues.provider` with its interface.

pub mod account;
pub mod check;
mod destination;

use crate::credential::{ClientCertificate, Credentials};
use crate::hosts::Target;
use crate::interface;
use crate::interface::contract::{Batching, Interface};
use crate::json;
use crate::provider_row::ProviderRow;
use crate::request::{HttpRequest, Request};
use crate::settings::Settings;
use serde_json::Value;
use std::ops::Deref;
use std::time::Duration;

/// The maximum duration of a call; the upper limit of `pg_errand.call_timeout`.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// A row that was read, with the interface that it names.
#[derive(Clone)]
pub struct Provider {
    row: ProviderRow,
    pub interface: &'static dyn Interface,
}

impl Deref for Provider {
    type Target = ProviderRow;

    fn deref(&self) -> &ProviderRow {
        &self.row
    }
}

impl Provider {
    /// Reads a row.
    ///
    /// # Errors
    /// If the row has a value that no provider can have.
    pub fn of_row(mut row: Value) -> Result<Provider, String> {
        let name = row.get("interface").and_then(Value::as_str).unwrap_or_default();
        let interface = interface::find(name).ok_or_else(|| format!("there is no interface \"{name}\""))?;
        let [request, expect, answer, failure] =
            json::take(&mut row, ["request", "expect", "answer", "failure"]);
        // A flattened field would lose the digits of numbers.
        let limits = serde_json::from_value(row.clone()).map_err(|error| error.to_string())?;
        let row: ProviderRow = serde_json::from_value(row).map_err(|error| error.to_string())?;
        Ok(Provider { row: ProviderRow { limits, request, expect, answer, failure, ..row }, interface })
    }

    /// Reads a row that is being written. Its times are still intervals, so they are left out.
    ///
    /// # Errors
    /// If the row has a value that no provider can have.
    pub fn of_unread_row(mut row: Value) -> Result<Provider, String> {
        if let Some(fields) = row.as_object_mut() {
            ["timeout", "idempotency_key_ttl", "max_wait", "breaker_cooldown"]
                .iter()
                .for_each(|time| drop(fields.remove(*time)));
        }
        Provider::of_row(row)
    }

    /// The time limit for a call; `usual` is that of the settings. A request can only reduce it.
    pub fn timeout_of(&self, request: &Request, usual: Duration) -> Duration {
        let limit = self.timeout.unwrap_or(usual).clamp(Duration::from_millis(1), MAX_TIMEOUT);
        match request {
            Request::Http(HttpRequest { timeout: Some(wanted), .. }) => {
                limit.min(Duration::from_millis(*wanted))
            }
            _ => limit,
        }
    }

    /// How several calls go out as one batch, if batches are configured.
    pub fn batching(&self) -> Option<&'static dyn Batching> {
        self.interface.batching().filter(|_| self.batch_size() > 1)
    }

    /// The base URL, if a superuser has chosen it.
    pub fn trusted_base_url(&self, settings: &dyn Settings) -> Option<String> {
        match &self.base_url {
            Some(url) => self.trusted.then(|| url.clone()),
            None => self.interface.base_url_of_superuser(settings),
        }
    }

    /// Fetches the credentials with which `request` is sent. This is the only place that does so. A stored request may
    /// have been built for another base URL, to which the credentials must not be sent.
    ///
    /// # Errors
    /// If a secret is missing, or the base URL has changed.
    pub fn credentials(&self, request: &Request, settings: &dyn Settings) -> Result<Credentials, String> {
        self.check_destination(request, settings)?;
        let pem = self.client_certificate.as_deref().map(|name| settings.named_secret(name)).transpose()?;
        Ok(Credentials {
            added: self.interface.credentials(self, settings, request)?,
            client_certificate: pem.map(|pem| ClientCertificate { pem }),
        })
    }

    /// Checks whether the secrets that the row needs can be looked up.
    ///
    /// # Errors
    /// If one cannot; the message does not contain it.
    pub fn check_secrets(&self, settings: &dyn Settings) -> Result<(), String> {
        let certificate = self.client_certificate.as_deref();
        certificate.map_or(Ok(()), |name| settings.named_secret(name).map(drop))?;
        self.interface.check_secret(self, settings)
    }

    /// A provider for tests that has only an interface.
    #[cfg(test)]
    pub fn plain(interface: &str) -> Provider {
        Provider::with(interface, ProviderRow { name: interface.into(), ..ProviderRow::default() })
    }

    #[cfg(test)]
    pub fn with(interface: &str, row: ProviderRow) -> Provider {
        Provider { row, interface: interface::find(interface).unwrap() }
    }
}

/// The host of a request, with its port if the URL names one.
pub fn host_of(request: &HttpRequest) -> String {
    Target::parse(&request.url).map_or(String::new(), |target| target.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_shortens_the_time_limit_only() {
        let row = ProviderRow { timeout: Some(Duration::MAX), ..ProviderRow::default() };
        let provider = Provider::with("http", row);
        let of = |timeout| Request::Http(HttpRequest { timeout, ..HttpRequest::default() });
        assert_eq!(provider.timeout_of(&of(None), Duration::from_secs(1)), MAX_TIMEOUT);
        assert_eq!(provider.timeout_of(&of(Some(50)), Duration::from_secs(1)), Duration::from_millis(50));
        assert_eq!(provider.timeout_of(&of(Some(u64::MAX)), Duration::from_secs(1)), MAX_TIMEOUT);
    }

    #[test]
    fn an_unknown_interface_is_named() {
        let problem = Provider::of_row(json!({ "name": "x", "interface": "pigeon" })).err();
        assert_eq!(problem.as_deref(), Some("there is no interface \"pigeon\""));
    }
}
