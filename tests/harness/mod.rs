//! What the tests share.
//!
//! - [`cluster`]: a PostgreSQL cluster of the test's own: its connections, its log, its processes.
//! - [`builder`]: how such a cluster is set up, also as a standby or a copy of another.
//! - [`calling`], [`mailing`], [`probe`]: clusters with a server to call, with a provider of mails, with handlers that
//!   misbehave, each with what tests ask of it.
//! - [`wait`]: waiting for a condition, never for a time.
//! - [`handlers`]: what tests have run, and how they hold it up.
//! - [`memory`]: what a process takes.
//! - [`process`]: processes and signals.
//! - [`queue`]: the extension's interface in a few words.
//!
//! The provider's stand-in is this package's library, `standin`.

pub mod builder;
pub mod calling;
pub mod cluster;
pub mod handlers;
mod log;
pub mod mailing;
pub mod memory;
mod permit;
pub mod points;
pub mod probe;
pub mod process;
pub mod programs;
pub mod queue;
pub mod run_dir;
pub mod wait;
