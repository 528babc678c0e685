//! Determines the account for which a call counts. Rows with the same address and credentials share an account, also in
//! different databases.

use super::{Provider, host_of};
use crate::request::Request;
use crate::settings::Settings;
use std::hash::{DefaultHasher, Hash, Hasher};

impl Provider {
    /// The digest of the account that this provider's requests count for; never 0.
    pub fn account(&self, settings: &dyn Settings) -> u64 {
        let interface = self.interface.name();
        match &self.base_url {
            Some(base) => digest(&[
                interface,
                base,
                &format!("{:?}", self.auth),
                self.auth_name.as_deref().unwrap_or(""),
                self.secret.as_deref().unwrap_or(""),
                self.client_certificate.as_deref().unwrap_or(""),
            ]),
            None => digest(&[&self.name, interface, &self.interface.account_of_settings(settings)]),
        }
    }

    /// The account that `request` counts for: without a base URL, that of the request's host.
    pub fn account_of(&self, request: &Request, settings: &dyn Settings) -> u64 {
        match request {
            Request::Http(http) if self.base_url.is_none() && self.interface.takes_request_from_payload() => {
                digest(&["host", &host_of(http)])
            }
            _ => self.account(settings),
        }
    }
}

fn digest(parts: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider_row::ProviderRow;
    use crate::settings::TestSettings;

    #[test]
    fn rows_with_the_same_secret_at_the_same_address_share_an_account() {
        let at = |base: &str, secret: &str| {
            let row = ProviderRow {
                base_url: Some(base.into()),
                secret: Some(secret.into()),
                ..ProviderRow::default()
            };
            Provider::with("http", row).account(&TestSettings::default())
        };
        assert_eq!(at("https://a", "s"), at("https://a", "s"));
        assert!(at("https://a", "s") != at("https://a", "t") && at("https://a", "s") != at("https://b", "s"));
    }
}
