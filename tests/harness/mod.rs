//! What the tests share.
//!
//! - [`cluster`]: a PostgreSQL cluster of the test's own: its connections, its log, its processes.
//! - [`builder`]: how such a cluster is set up, also as a standby or a copy of another.
//! - [`wait`]: waiting for a condition, never for a time.
//! - [`handlers`]: what tests have run, and how they hold it up.
//! - [`memory`]: what a process takes.
//! - [`process`]: processes and signals.
//! - [`queue`]: the extension's interface in a few words.
//!
//! The provider's stand-in is this package's library, `standin`.

pub mod builder;
pub mod cluster;
pub mod handlers;
mod log;
pub mod memory;
mod permit;
pub mod points;
pub mod process;
pub mod programs;
pub mod queue;
pub mod run_dir;
pub mod wait;
