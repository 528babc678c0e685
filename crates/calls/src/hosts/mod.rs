//! Hosts in URLs and settings: where a request leads, and whether it is allowed. Nothing here uses the network.

mod address;
mod allow;
mod base;
mod target;

pub use allow::AllowList;
pub use base::{base_url, host_name, is_host, proxy_url};
pub use target::{Host, Target, check_length};
