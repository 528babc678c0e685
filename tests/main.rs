//! Tests of pg_errand from outside: real clusters, real signals, and a stand-in for the provider.
//!
//! A file per promise. What they share is in `harness`; see there first.

mod activity;
mod application;
mod attacks;
mod calls;
mod commands;
mod contract;
mod copies;
mod deadly;
mod due;
mod email;
mod envelopes;
mod handlers;
mod harness;
mod interrupt;
mod launcher;
mod lifecycle;
mod mailing;
mod moments;
mod outside;
mod retention;
mod roles;
mod secrets;
mod session;
mod settings;
mod smoke;
mod sms;
mod stories;
mod stuck;
mod takeover;
mod upgrade;
mod wake;
