//! The only modules with `unsafe`: small, safe faces of PostgreSQL's C interface.
//!
//! Everything here belongs to the main thread of a backend. Threads that call providers live in
//! [`pg_errand_calls::pool`] and never touch a symbol of this module.

pub mod activity;
pub mod backend;
pub mod bgworker;
mod callee;
pub mod catalog;
pub mod catch;
pub mod citus;
pub mod command;
mod dblink;
pub mod directory;
pub mod function;
pub mod guc;
pub mod home;
pub mod ident;
pub mod interrupt;
pub mod invalidation;
pub mod journal;
pub mod jsonb;
pub mod jsonb_field;
pub mod jsonb_size;
pub mod latch;
pub mod libraries;
pub mod log;
mod placeholder;
pub mod remote;
mod runaway;
pub mod secret;
pub mod session;
pub mod shape;
pub mod shmem;
pub mod spi;
pub mod statement;
pub mod table;
mod temp_buffers;
pub mod thread;
pub mod timeout;
mod traces;
pub mod transaction;
pub mod trigger;
