//! Functions that SQL calls, by subject like the files of `sql/` that declare them. The C symbol of a function is its name
//! with `_wrapper` appended.

mod adopt;
mod cancel;
mod enqueue;
mod explain;
mod home;
mod outside;
mod provider;
mod task;
mod worker_state;
