//! Differences between major versions of PostgreSQL, a file for each version that has changed something. A function in
//! `since_16` provides on earlier versions, too, what PostgreSQL has provided since 16.

pub mod since_16;
pub mod since_17;
pub mod since_18;
