//! Models of the protocols that keep tasks from being lost or run twice, and a search through every order in which
//! their steps can come.
//!
//! - [`queue`]: claim, completion, provider calls, cancels and workers outside, with deaths of
//!   workers and crashes of the server at every point;
//! - [`shared`]: workers, sessions and the launcher on the shipped shared memory (`crates/queue`): what of the table is
//!   read and handed out, and who looks for work when a task is committed, falls due or is left behind.
//!
//! Each step names the code it stands for. A model says something only if it can fail: [`broken`]
//! lists protocols that differ from the real one in one point, and each has to yield a
//! counterexample. What the models leave out is in `docs/guarantees.md`.

mod broken;
mod check;
mod queue;
mod shared;
