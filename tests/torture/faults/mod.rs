//! The faults. A new one is a line in [`FAULTS`] and a function `fn(&mut Scene) -> Outcome`.

mod command;
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
    /// It may happen while another one does.
    pub beside: bool,
    pub act: fn(&mut Scene) -> Outcome,
}

/// Every fault.
pub const FAULTS: &[Fault] = &[
    // processes.rs
    fault("terminate a worker", 10, processes::terminate_worker),
    fault("SIGTERM to a worker", 6, processes::sigterm_worker),
    fault("cancel a worker's statement", 8, processes::cancel_worker),
    fault("SIGKILL to a worker", 6, processes::sigkill_worker),
    fault("SIGSEGV to a busy worker", 4, processes::sigsegv_worker),
    fault("terminate all workers", 4, processes::terminate_workers),
    fault("terminate everybody", 4, processes::terminate_everybody),
    fault("SIGTERM to the launcher", 3, processes::sigterm_launcher),
    fault("SIGINT to the launcher", 2, processes::sigint_launcher),
    fault("SIGKILL to the launcher", 2, processes::sigkill_launcher),
    fault("SIGKILL to a session", 3, processes::sigkill_session),
    fault("SIGKILL to the checkpointer", 2, processes::sigkill_checkpointer),
    fault("stop a worker for a moment", 4, processes::freeze_worker),
    // server.rs
    alone("smart restart", 3, server::smart),
    alone("fast restart", 5, server::fast),
    alone("immediate restart", 4, server::immediate),
    alone("SIGKILL to all processes", 4, server::kill_everything),
    alone("SIGKILL to the postmaster", 4, server::kill_postmaster),
    alone("crash during recovery", 2, server::crash_twice),
    // settings.rs
    fault("other settings", 14, settings::change),
    fault("settings of the database", 5, settings::change_for_database),
    fault("pause", 3, settings::pause),
    // provider.rs
    fault("provider misbehaves", 12, provider::misbehave),
    fault("provider holds answers back", 6, provider::hold),
    fault("provider hangs up", 4, provider::hang_up),
    // lock.rs
    fault("lock on queues.task", 5, lock::lock_table),
    fault("locks on waiting tasks", 4, lock::lock_rows),
    fault("REINDEX", 4, lock::reindex),
    fault("VACUUM", 4, lock::vacuum),
    // function.rs
    fault("function dropped and created", 5, function::recreate),
    // command.rs
    fault("DROP EXTENSION rolled back", 3, command::drop_extension_and_roll_back),
    fault("ALTER EXTENSION UPDATE", 2, command::update_extension),
    fault("copy of a database in use", 2, command::copy_in_vain),
    fault("another database renamed", 2, command::rename),
    // database.rs
    fault("copy of another database", 4, database::copy),
    fault("another database's extension dropped and created", 2, database::recreate_extension),
];

const fn fault(name: &'static str, weight: u32, act: fn(&mut Scene) -> Outcome) -> Fault {
    Fault { name, weight, beside: true, act }
}

/// One that stops and starts the server itself.
const fn alone(name: &'static str, weight: u32, act: fn(&mut Scene) -> Outcome) -> Fault {
    Fault { name, weight, beside: false, act }
}

/// Where a fault happens.
pub struct Scene<'a> {
    pub world: &'a World,
    pub rng: Rng,
}

/// Lets a fault happen, and notes what it came to.
pub fn happen(world: &World, round: usize, fault: &Fault, rng: Rng) {
    let outcome = (fault.act)(&mut Scene { world, rng });
    if let Err(error) = &outcome {
        world.explain(fault.name, error);
    }
    let outcome = outcome.unwrap_or_else(|error| match error.as_db_error() {
        Some(refusal) => format!("given up: {}", refusal.message()),
        None => format!("given up: {error}"),
    });
    world.history.add(format!("round {round}: {}: {outcome}", fault.name));
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
