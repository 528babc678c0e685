//! The launcher: one process for the whole server, connected to no database. It compares the existing workers with the
//! desired ones, and starts or retires workers accordingly.

mod cancels;
mod clock;
mod cycle;
mod desired;
mod flush;
mod process_limit;
pub mod quiesce;
mod reader;
mod reconcile;
mod reports;
pub mod settings;
mod start;

use crate::config::LogLevel;
use crate::pg::latch::LatchRef;
use crate::pg::{activity, backend, bgworker, callbacks, citus, interrupt, log, shmem};
use crate::shared::Latch;
use cycle::{Launcher, SCAN_INTERVAL};
use std::time::Duration;

/// The pause after an error, doubled after each one that follows, up to about a minute.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// Registers the launcher with the postmaster, which starts it and restarts it whenever it ends.
pub fn register() {
    bgworker::register(&bgworker::Registration {
        name: "pg_errand launcher",
        kind: "pg_errand launcher",
        function: "pg_errand_launcher_main",
        argument: 0,
        restart_after: Some(1),
    });
}

/// The main function of the launcher process.
pub fn main() -> ! {
    interrupt::install();
    callbacks::on_exit(|| shmem::write(|shared| shared.launcher = LatchRef::NONE));
    bgworker::connect_to_none();
    interrupt::hold_cancel();
    activity::name("pg_errand launcher");
    let now = backend::now();
    shmem::write(|shared| {
        shared.launcher = LatchRef::mine();
        // Identities of workers must not repeat those of the primary of which this server was a standby.
        shared.next_owner = shared.next_owner.max(now);
    });
    log::event(LogLevel::Info, "launcher started".into());
    warn_of_unknown_citus();

    let mut launcher = Launcher::default();
    let mut errors = 0;
    loop {
        interrupt::check();
        interrupt::forget_cancel();
        let pause = match launcher.cycle() {
            Ok(until) => {
                errors = 0;
                // The pause is limited, since the clock may be set meanwhile.
                Duration::from_micros(until.saturating_sub(backend::now()).clamp(0, SCAN_INTERVAL) as u64)
            }
            Err(error) => {
                launcher.report_error(&error);
                errors += 1;
                ERROR_PAUSE * (1 << (errors - 1).min(6))
            }
        };
        flush::wait(pause);
    }
}

fn warn_of_unknown_citus() {
    if citus::is_unknown() {
        log::event_with_hint(
            LogLevel::Warning,
            "Citus is loaded, but does not tell whether a transaction spans nodes: each task waits for its commit \
             to be flushed"
                .into(),
            "A crash may lose a task that was enqueued in a transaction that also wrote on one other node. Use a \
             version of Citus that exports InCoordinatedTransaction and Use2PCForCoordinatedTransaction."
                .into(),
        );
    }
}
