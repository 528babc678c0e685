//! Tests of pg_errand from outside: real clusters, real signals, and a stand-in for the provider.
//!
//! A file per promise. What they share is in `harness`; see there first.

mod contract;
mod harness;
mod smoke;
