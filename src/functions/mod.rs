//! Functions that SQL calls, by subject like the files of `sql/` that declare them. The C symbol of a function is its name
//! with `_wrapper` appended.

mod adopt;
mod bulk;
mod cancel;
mod enqueue;
mod explain;
mod health;
mod home;
mod outside;
mod pause;
mod provider;
mod provider_state;
mod purge;
mod question;
mod queue_key;
mod report;
mod shown;
mod stats;
mod task;
mod worker_state;
