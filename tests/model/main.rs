//! Models of the protocols that keep tasks from being lost or run twice, and a search through every order of their
//! steps.
//!
//! - [`queue`]: claim, completion, provider calls, cancellations and workers outside, with deaths of workers and
//!   crashes of the server at every point;
//! - [`shared`]: workers, sessions and the launcher on the shipped shared memory (`crates/queue`): which tasks are read
//!   and handed out, and which worker looks for work when a task is committed, falls due or is left behind;
//! - [`keys`]: tasks of one key, which run one after the other.
//!
//! Each step names the code that it represents. A model is meaningful only if it can fail: [`broken`] lists protocols
//! that differ from the real one in one point, and each of them has to yield a counterexample. `docs/guarantees.md`
//! lists what the models leave out.

mod broken;
mod check;
mod keys;
mod queue;
mod shared;
