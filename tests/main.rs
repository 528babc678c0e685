//! Tests of pg_errand from outside: real clusters, real signals, and a stand-in for the provider.
//!
//! A file per promise. What they share is in `harness`; see there first.

mod activity;
mod application;
mod attacks;
mod calls;
mod cancel;
mod commands;
mod commit;
mod contract;
mod copies;
mod deadly;
mod due;
mod durable;
mod email;
mod envelopes;
mod flood;
mod handlers;
mod harness;
mod head;
mod hostile;
mod interrupt;
mod kept;
mod large;
mod launcher;
mod lifecycle;
mod mailing;
mod moments;
mod outside;
mod peers;
mod probe;
mod retention;
mod roles;
mod secrets;
mod session;
mod settings;
mod shutdown;
mod smoke;
mod sms;
mod stories;
mod stuck;
mod synchronous;
mod takeover;
mod torture;
mod upgrade;
mod wake;
