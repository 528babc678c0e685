//! Fixtures and functions that the tests share.
//!
//! - [`cluster`]: a PostgreSQL cluster for one test: its sessions, its log, its processes.
//! - [`builder`]: how such a cluster is set up, also as a standby or a copy of another.
//! - [`browser`]: a browser that shows a page.
//! - [`calling`], [`mailing`], [`probe`]: clusters with a server to call, with a provider of mails, with handlers that
//!   misbehave, each with what tests ask of it.
//! - [`wait`]: waiting for conditions instead of sleeping.
//! - [`handlers`]: handlers for tests, and ways to have them wait.
//! - [`memory`]: the memory of a process.
//! - [`pages`]: the pages of docs/, whose statements are run.
//! - [`process`]: processes and signals.
//! - [`queue`]: functions for the extension's tables and views.
//!
//! The provider's stand-in is this package's library, `standin`.

pub mod browser;
pub mod builder;
pub mod calling;
pub mod cluster;
pub mod handlers;
mod log;
pub mod mailing;
pub mod memory;
pub mod pages;
mod permit;
pub mod points;
pub mod probe;
pub mod process;
pub mod programs;
pub mod queue;
pub mod run_dir;
pub mod wait;
