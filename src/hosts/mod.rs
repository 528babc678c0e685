//! Hosts, as URLs and settings name them: where a request leads, and whether it may go there. Plain rules,
//! nothing is looked up.

mod address;
mod allow;
mod target;

pub use allow::AllowList;
pub use target::{Host, Target};
