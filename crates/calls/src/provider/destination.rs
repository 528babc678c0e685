//! Checks whether a stored request still goes to the host to which the provider's credentials belong.

use super::Provider;
use crate::hosts::Target;
use crate::request::Request;
use crate::settings::Settings;

impl Provider {
    /// # Errors If the hosts differ; the message names both.
    pub(super) fn check_destination(&self, request: &Request, settings: &dyn Settings) -> Result<(), String> {
        let Request::Http(request) = request else { return Ok(()) };
        let base = self.base_url.clone().or_else(|| self.interface.base_url_of_superuser(settings));
        // Without a base URL there are no credentials.
        let Some(base) = base else { return Ok(()) };
        let (made_for, now) = (Target::parse(&request.url)?, Target::parse(&base)?);
        if made_for.has_origin_of(&now) {
            return Ok(());
        }
        let origin =
            |target: &Target| format!("{}://{target}", if target.is_https() { "https" } else { "http" });
        Err(format!(
            "the base URL of provider \"{}\" has changed: the request was made for {}, and its credentials are for {} \
             now; it was not sent",
            self.name,
            origin(&made_for),
            origin(&now)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider_row::ProviderRow;
    use crate::request::HttpRequest;
    use crate::settings::TestSettings;

    #[test]
    fn a_stored_request_goes_only_to_where_the_provider_is_now() {
        let provider = |base: &str| {
            Provider::with("http", ProviderRow { base_url: Some(base.into()), ..ProviderRow::default() })
        };
        let settings = TestSettings::default();
        let url = "https://api.test/v1/x?y=1".into();
        let request = Request::Http(HttpRequest { url, ..HttpRequest::default() });
        for same in ["https://api.test", "https://API.test:443/v2"] {
            assert_eq!(provider(same).check_destination(&request, &settings), Ok(()), "{same}");
        }
        for other in
            ["http://api.test", "https://api.test:8443", "https://api.test.evil", "https://other.test"]
        {
            let refusal = provider(other).check_destination(&request, &settings).unwrap_err();
            assert!(refusal.contains("https://api.test, ") && refusal.contains("not sent"), "{refusal}");
        }
        assert_eq!(Provider::plain("http").check_destination(&request, &settings), Ok(()));
    }
}
