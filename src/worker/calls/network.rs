//! The network settings of calls.

use crate::config;
use crate::pg::guc::Text;
use pg_errand_calls::hosts::AllowList;
use pg_errand_calls::network::{Network, ProxyServer};

/// The current network settings.
pub fn as_set() -> Network {
    let given = |setting: &Text| Some(setting.get()).filter(|text| !text.is_empty());
    Network {
        user_agent: concat!("pg_errand/", env!("CARGO_PKG_VERSION")),
        // Only valid lists can be set; an empty one allows nothing.
        allowed: AllowList::parse(&config::HTTP_ALLOWED_HOSTS.get()).unwrap_or_default(),
        proxy: given(&config::HTTP_PROXY).map(proxy),
        ca_file: given(&config::HTTP_CA_FILE),
        ehlo_name: given(&config::SMTP_EHLO_NAME),
        max_response_size: config::HTTP_MAX_RESPONSE_SIZE.get() as u64,
        max_request_size: config::HTTP_MAX_REQUEST_SIZE.get() as u64,
    }
}

fn proxy(url: String) -> ProxyServer {
    let user = Some(config::HTTP_PROXY_USER.get()).filter(|user| !user.is_empty());
    let login = user.map(|user| (user, config::HTTP_PROXY_PASSWORD.get().unwrap_or_default()));
    ProxyServer { url, login }
}
