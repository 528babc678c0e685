//! What differs between major versions of PostgreSQL, a file for each version that has changed something. A function
//! in `since_16` does what its callers need on 16 and later as well as on earlier versions.

pub mod since_16;
pub mod since_17;
pub mod since_18;
