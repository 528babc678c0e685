//! The faults. A new one is a line in [`FAULTS`] and a function `fn(&mut Scene) -> Outcome`.

mod database;
mod function;
mod lock;
mod processes;
mod provider;
mod server;
mod settings;

use fastrand::Rng;
use postgres::{Client, Error};

use super::choose::any;
use super::world::World;

/// What a fault came to: what it did, in a few words, or an error that another fault explains.
pub type Outcome = Result<String, Error>;

/// Something that goes wrong.
pub struct Fault {
    pub name: &'static str,
    /// How often it is chosen, compared to the others.
    pub weight: u32,
    pub act: fn(&mut Scene) -> Outcome,
}

/// Every fault.
pub const FAULTS: &[Fault] = &[
    // processes.rs
    Fault { name: "terminate a worker", weight: 10, act: processes::terminate_worker },
    Fault { name: "SIGTERM to a worker", weight: 6, act: processes::sigterm_worker },
    Fault { name: "cancel a worker's statement", weight: 8, act: processes::cancel_worker },
    Fault { name: "SIGKILL to a worker", weight: 6, act: processes::sigkill_worker },
    Fault { name: "SIGSEGV to a busy worker", weight: 4, act: processes::sigsegv_worker },
    Fault { name: "terminate all workers", weight: 4, act: processes::terminate_workers },
    Fault { name: "terminate everybody", weight: 4, act: processes::terminate_everybody },
    Fault { name: "SIGTERM to the launcher", weight: 3, act: processes::sigterm_launcher },
    Fault { name: "SIGINT to the launcher", weight: 2, act: processes::sigint_launcher },
    Fault { name: "SIGKILL to the launcher", weight: 2, act: processes::sigkill_launcher },
    Fault { name: "SIGKILL to a session", weight: 3, act: processes::sigkill_session },
    Fault { name: "SIGKILL to the checkpointer", weight: 2, act: processes::sigkill_checkpointer },
    Fault { name: "stop a worker for a moment", weight: 4, act: processes::freeze_worker },
    // server.rs
    Fault { name: "smart restart", weight: 3, act: server::smart },
    Fault { name: "fast restart", weight: 5, act: server::fast },
    Fault { name: "immediate restart", weight: 4, act: server::immediate },
    Fault { name: "SIGKILL to all processes", weight: 4, act: server::kill_everything },
    Fault { name: "SIGKILL to the postmaster", weight: 4, act: server::kill_postmaster },
    Fault { name: "crash during recovery", weight: 2, act: server::crash_twice },
    // settings.rs
    Fault { name: "other settings", weight: 14, act: settings::change },
    Fault { name: "settings of the database", weight: 5, act: settings::change_for_database },
    Fault { name: "pause", weight: 3, act: settings::pause },
    // provider.rs
    Fault { name: "provider misbehaves", weight: 12, act: provider::misbehave },
    Fault { name: "provider holds answers back", weight: 6, act: provider::hold },
    Fault { name: "provider hangs up", weight: 4, act: provider::hang_up },
    // lock.rs
    Fault { name: "lock on queues.task", weight: 5, act: lock::lock_table },
    Fault { name: "locks on waiting tasks", weight: 4, act: lock::lock_rows },
    Fault { name: "REINDEX", weight: 4, act: lock::reindex },
    Fault { name: "VACUUM", weight: 4, act: lock::vacuum },
    // function.rs
    Fault { name: "function dropped and created", weight: 5, act: function::recreate },
    // database.rs
    Fault { name: "copy of another database", weight: 4, act: database::copy },
    Fault {
        name: "another database's extension dropped and created",
        weight: 2,
        act: database::recreate_extension,
    },
];

/// Where a fault happens.
pub struct Scene<'a> {
    pub world: &'a World,
    pub rng: Rng,
}

impl Scene<'_> {
    /// A session in the database whose tasks are counted.
    fn client(&self) -> Client {
        self.world.wait_up()
    }

    /// One of the processes of a kind, if there is any.
    fn process(&mut self, condition: &str) -> Result<Option<i32>, Error> {
        let sql = format!("select pid from pg_stat_activity where {condition} and pid <> pg_backend_pid()");
        let rows = self.client().query(&sql, &[])?;
        let pids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        Ok(any(&mut self.rng, &pids))
    }

    /// A number of milliseconds for which a fault lasts.
    fn duration(&mut self, up_to: u64) -> u64 {
        self.rng.u64(20..=up_to)
    }
}
