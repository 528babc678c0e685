//! Checks a row of `queues.provider` that is being written.

use super::Provider;
use crate::interface::contract::Batching;
use crate::provider_row::{Auth, HeaderValues};
use crate::request::HTTP_FIELDS;
use crate::{auth, expect, fields, header, key, limits, secret, template};
use serde_json::Value;

/// Checks a row.
///
/// # Errors
/// If it is invalid; the message states what is wrong.
pub fn check(row: Value) -> Result<(), String> {
    limits::check(&row)?;
    Provider::of_unread_row(row)?.check()
}

impl Provider {
    fn check(&self) -> Result<(), String> {
        self.check_auth()?;
        self.check_batch_size()?;
        self.check_header_names()?;
        self.check_key_header()?;
        self.check_templates()?;
        self.check_request_fields()
    }

    fn check_auth(&self) -> Result<(), String> {
        if self.auth == Auth::Basic && self.auth_name.is_none() && self.secret.is_none() {
            return Err(
                "auth needs auth_name, the user, or the name of a secret that contains the user".into()
            );
        }
        if !matches!(self.auth, Auth::None | Auth::Basic) && self.secret.is_none() {
            return Err("auth needs the name of a secret".into());
        }
        if matches!(self.auth, Auth::Header | Auth::Query) && self.auth_name.is_none() {
            return Err("auth needs auth_name: the header or query parameter".into());
        }
        if self.auth == Auth::Basic && self.auth_name.as_ref().is_some_and(|user| user.contains(':')) {
            return Err("auth_name is a user, so it cannot contain a colon".into());
        }
        let mut secrets = [&self.secret, &self.client_certificate].into_iter().flatten();
        if let Some(secret) = secrets.find(|name| !secret::is_name(name)) {
            return Err(format!("\"{secret}\" is not a valid name of a secret"));
        }
        let has_credentials = self.auth != Auth::None || self.client_certificate.is_some();
        if has_credentials && self.base_url.is_none() && self.interface.takes_request_from_payload() {
            return Err("auth needs a base_url: otherwise each payload says where the secret goes".into());
        }
        Ok(())
    }

    fn check_batch_size(&self) -> Result<(), String> {
        let max = self.interface.batching().map_or(1, Batching::max_size);
        if self.batch_size() > max as usize {
            let interface = self.interface.name();
            return Err(format!(
                "batch_size can be {max} at most: the interface {interface} sends no more in one request"
            ));
        }
        Ok(())
    }

    fn check_header_names(&self) -> Result<(), String> {
        let auth_header = self.auth_name.as_deref().filter(|_| self.auth == Auth::Header);
        let key_header = self.idempotency_header.as_deref().filter(|name| !name.is_empty());
        let unset = auth_header.into_iter().chain(key_header).map(|name| (name, ""));
        let set = self.headers.iter().flat_map(|(name, HeaderValues(all))| {
            all.iter().map(move |value| (name.as_str(), value.as_str()))
        });
        let problem = unset.chain(set).find_map(|(name, value)| header::problem(name, value));
        problem.map_or(Ok(()), Err)
    }

    /// Each request needs a key of its own in the header that the provider reads. With a constant key, the provider
    /// would treat all requests as repetitions of the first.
    fn check_key_header(&self) -> Result<(), String> {
        let own = self.idempotency_header.as_deref().filter(|name| !name.is_empty());
        for name in own.into_iter().chain([key::DEFAULT_HEADER]) {
            let is_key = |other: &str| other.eq_ignore_ascii_case(name);
            if self.auth != Auth::Query && auth::owns_header(self, name) {
                return Err(format!(
                    "the header {name} cannot be for the secret: it contains the idempotency key"
                ));
            }
            if self.headers.keys().any(|other| is_key(other)) {
                return Err(format!(
                    "headers cannot have {name}: each request has an idempotency key of its own"
                ));
            }
        }
        Ok(())
    }

    fn check_templates(&self) -> Result<(), String> {
        for (column, template) in
            [("request", &self.request), ("answer", &self.answer), ("failure", &self.failure)]
        {
            let checked = template.as_ref().map_or(Ok(()), template::check);
            checked.map_err(|problem| format!("{column}: {problem}"))?;
        }
        self.expect.as_ref().map_or(Ok(()), expect::check)
    }

    fn check_request_fields(&self) -> Result<(), String> {
        let Some(request) = &self.request else { return Ok(()) };
        let given = request.as_object().ok_or("request has to be an object")?;
        fields::check("request", given, HTTP_FIELDS, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider_row::ProviderRow;

    #[test]
    fn a_key_header_is_only_for_keys() {
        let base = || ProviderRow {
            base_url: Some("https://api.test".into()),
            secret: Some("s".into()),
            ..ProviderRow::default()
        };
        let named = |auth, name: &str| ProviderRow { auth, auth_name: Some(name.into()), ..base() };
        let key_header = |name: &str, row| ProviderRow { idempotency_header: Some(name.into()), ..row };
        let headers = |name: &str| ProviderRow {
            headers: [(name.into(), HeaderValues(vec!["x".into()]))].into(),
            ..base()
        };
        let check = |row: ProviderRow| Provider::with("http", row).check();
        for wrong in [
            named(Auth::Header, "idempotency-KEY"),
            key_header("", named(Auth::Header, "Idempotency-Key")),
            key_header("X-Key", named(Auth::Header, "x-key")),
            key_header("Authorization", named(Auth::Bearer, "")),
            key_header("webhook-id", named(Auth::Webhook, "")),
            headers("Idempotency-Key"),
            key_header("X-Key", headers("x-key")),
        ] {
            let name = wrong.auth_name.clone();
            assert!(check(wrong).is_err_and(|reason| reason.contains("idempotency key")), "{name:?}");
        }
        for right in [
            named(Auth::Header, "X-Key"),
            named(Auth::Query, "Idempotency-Key"),
            key_header("X-Key", named(Auth::Bearer, "")),
            headers("X-Key"),
        ] {
            assert_eq!(check(right), Ok(()));
        }
    }
}
