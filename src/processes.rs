//! The functions with which background processes start.

use crate::pg::entry::process;
use crate::{launcher, worker};
use pgrx::pg_sys;

/// The launcher process starts here.
fn pg_errand_launcher_main(_arg: usize) {
    launcher::main();
}
process!(pg_errand_launcher_main);

/// The process that reads stored settings starts here, with the database to connect to.
fn pg_errand_settings_main(database: usize) {
    launcher::settings::main(pg_sys::Oid::from_u32(database as u32));
}
process!(pg_errand_settings_main);

/// A worker process starts here, with the number of its slot.
fn pg_errand_worker_main(slot: usize) {
    worker::main(slot);
}
process!(pg_errand_worker_main);
