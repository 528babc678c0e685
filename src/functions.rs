//! Functions that SQL calls. Their declarations are in sql/, next to what they are for.

use crate::enqueue;
use crate::grantee::Grantee;
use crate::interface::{provider, serves};
use crate::pg::entry::{Call, process, sql_function};
use crate::pg::home::here;
use crate::pg::jsonb_field::View;
use crate::pg::spi::{self, Arg};
use crate::pg::{backend, catalog, dependency, log, shmem, time};
use crate::shared::{Lane, Position, Told};
use crate::task_definition::{self, TaskDefinitions};
use crate::unwritten::{self, Command};
use crate::worker::wake;
use crate::{home, launcher, outside, removal, replica, worker};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

/// Trigger of `queues.task`: refuses unknown task types, and has the commit wake a worker.
fn task_before_write(call: &Call) -> pg_sys::Datum {
    let row = call.new_row();
    let task_type: Option<&str> = row.get(c"task_type");
    let definitions = TaskDefinitions::now();
    let is_ours = row.get::<i64>(c"origin").is_none_or(|origin| Some(origin) == home::origin());
    let task_definition = task_type.and_then(|name| definitions.find(name));
    let moves = match row.earlier::<i64>(c"origin") {
        Some(earlier) => row.get(c"origin") != Some(earlier),
        None => !is_ours,
    };
    if moves {
        enqueue::check_move();
    } else if is_ours || !enqueue::may_move() {
        // A task of another database may come before its type; it waits until it is adopted.
        enqueue::check(&definitions, task_type, task_definition);
    }
    let task_id: Option<i64> = row.get(c"task_id");
    // It stands for «none» in shared memory.
    if task_id == Some(0) {
        log::refuse(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "a task cannot have the number 0".into(),
            "Leave task_id out to have the next number.".into(),
        );
    }
    let payload = row.new_jsonb(c"payload");
    payload.into_iter().for_each(enqueue::check_size);
    if !is_ours {
        replica::note_task(task_id.unwrap_or_default());
        wake::note_held();
    } else {
        payload.into_iter().for_each(enqueue::warn_of_keys);
        let scheduled_at = row.get::<TimestampWithTimeZone>(c"scheduled_at").map_or(i64::MIN, i64::from);
        wake::note_task(
            task_definition.map_or(Lane::LOCAL, |definition| definitions.lane_of(definition)),
            Position { scheduled_at, task_id: task_id.unwrap_or_default() },
        );
    }
    row.unchanged()
}
sql_function!(task_before_write);

/// Trigger of `queues.task`, after a DELETE.
fn task_after_delete(call: &Call) -> pg_sys::Datum {
    removal::after_delete(&call.after_delete());
    pg_sys::Datum::null()
}
sql_function!(task_after_delete);

/// Trigger of `queues.task`, after a TRUNCATE.
fn task_after_truncate(call: &Call) -> pg_sys::Datum {
    removal::after_truncate(&call.after_truncate());
    forget_runs();
    pg_sys::Datum::null()
}
sql_function!(task_after_truncate);

/// Trigger of `queues.provider` and `queues.task_definition`: has every process read them anew.
fn task_definitions_after_change(_call: &Call) -> pg_sys::Datum {
    task_definition::announce_change();
    wake::note_definitions();
    pg_sys::Datum::null()
}
sql_function!(task_definitions_after_change);

/// Input of `queues.grantee`.
#[pg_extern(sql = false)]
fn grantee_in(name: &std::ffi::CStr) -> i32 {
    Grantee::read(&name.to_string_lossy()).to_bits()
}

/// Output of `queues.grantee`.
#[pg_extern(sql = false)]
fn grantee_out(grantee: i32) -> std::ffi::CString {
    std::ffi::CString::new(Grantee::from_bits(grantee).name()).unwrap_or_default()
}

/// `errand.check_provider(jsonb)`.
fn check_provider(call: &Call) -> pg_sys::Datum {
    let row = call.argument(0).unwrap_or(pg_sys::Datum::null());
    let name = || {
        let name = View::of(row).get("name").and_then(|name| name.string(task_definition::MAX_SHOWN_NAME));
        name.unwrap_or_default()
    };
    match task_definition::fields(row) {
        Err(reason) => log::refuse(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("provider \"{}\": {reason}", name()),
            "Keep what is large, or has numbers of many digits, out of the columns of queues.provider."
                .into(),
        ),
        Ok(fields) => {
            // Only a warning: a dump of an older version may hold such a row.
            let breaker_cooldown = fields["breaker_cooldown"].as_str();
            if breaker_cooldown.is_some_and(|time| time::is_longer(time, provider::LONGEST_BREAK)) {
                log::warn(
                    format!("provider \"{}\": breaker_cooldown counts as 1 hour", name()),
                    "No circuit breaker stays open for longer.".into(),
                );
            }
            if let Err(reason) = provider::check(fields) {
                refuse_unless_restoring(
                    format!("provider \"{}\": {reason}", name()),
                    "See docs/providers.md for what the columns of queues.provider may hold.".into(),
                );
            }
        }
    }
    pg_sys::Datum::null()
}
sql_function!(check_provider);

/// Refuses a row. In a dump, or where replication comes from, it may be one that an older version took: then a refusal
/// would lose all rows of the table, or end the subscription, and this one does not affect others.
fn refuse_unless_restoring(message: String, hint: String) {
    if backend::is_restoring() || backend::replicates() {
        log::warn(message, hint);
    } else {
        log::refuse(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message, hint);
    }
}

/// `errand.check_serves(text, jsonb)`.
fn check_serves(call: &Call) -> pg_sys::Datum {
    let [task_type, row] = [0, 1].map(|n| call.argument(n).unwrap_or(pg_sys::Datum::null()));
    let task_type = spi::text(task_type).unwrap_or_default();
    // What is wrong with the row itself is checked where it is written.
    if let Ok(provider) = task_definition::fields(row).and_then(provider::Provider::of_unread_row)
        && let Err(reason) =
            serves::check(&task_type, &provider).and_then(|()| serves::check_template(&task_type, &provider))
    {
        refuse_unless_restoring(
            format!(
                "tasks of type \"{task_type}\" cannot be sent to provider \"{}\": {reason}",
                provider.name
            ),
            "Name a provider of an interface for such tasks, or insert a task type of your own.".into(),
        );
    }
    pg_sys::Datum::null()
}
sql_function!(check_serves);

/// `queues.enqueue(text, jsonb, timestamptz)`.
fn enqueue(call: &Call) -> pg_sys::Datum {
    let args: [Arg; 3] = [0, 1, 2].map(|n| call.argument(n));
    enqueue::enqueue(&args).into_datum().unwrap_or(pg_sys::Datum::null())
}
sql_function!(enqueue);

/// `errand.refuse_unwritten(regclass, boolean)`.
#[pg_extern(sql = false)]
fn refuse_unwritten(table: pg_sys::Oid, inserted: bool) {
    unwritten::refuse(table, if inserted { Command::Insert } else { Command::Update })
}

/// `errand.announce(timestamptz)`.
#[pg_extern(sql = false)]
fn announce(due_at: TimestampWithTimeZone) {
    wake::note_due(i64::from(due_at));
}

/// `errand.tell_of_ended_lease(bigint)`.
#[pg_extern(sql = false)]
fn tell_of_ended_lease(task_id: i64) {
    outside::tell_of_ended_lease(task_id);
}

/// Forgets attempts that ended with their worker.
fn forget_runs() {
    if shmem::available() {
        let database = backend::database();
        shmem::write_journal(|_, journal| journal.forget_all(database));
    }
}

/// `errand.announce_orphans()`.
#[pg_extern(sql = false)]
fn announce_orphans() {
    wake::note_orphans();
}

/// `errand.depend_on_schema(regnamespace)`.
#[pg_extern(sql = false)]
fn depend_on_schema(schema: pg_sys::Oid) {
    dependency::of_extension_on_schema(c"pg_errand", schema);
}

/// `errand.place()`.
#[pg_extern(sql = false)]
fn place() -> TableIterator<'static, (name!(system, i64), name!(database, pg_sys::Oid), name!(directory, i64))>
{
    let here = here();
    TableIterator::once((here.system, here.database, here.directory))
}

/// `errand.queue_origin()`.
#[pg_extern(sql = false)]
fn queue_origin() -> Option<i64> {
    home::origin()
}

/// `errand.preloaded()`.
#[pg_extern(sql = false)]
fn preloaded() -> bool {
    shmem::available()
}

/// `errand.cancel_running(bigint)`.
#[pg_extern(sql = false)]
fn cancel_running(task_id: i64) -> bool {
    if !shmem::available() {
        return false;
    }
    let (database, now) = (backend::database(), backend::now());
    shmem::write_journal(|shared, journal| {
        let pid = shared.cancel_running(journal, database, task_id, now);
        // Under the lock, so that the signal can only reach the worker while it has this task.
        if let Some(pid) = pid {
            backend::signal(pid, libc::SIGINT);
        }
        pid.is_some()
    })
}

/// `errand.cancel_call(bigint, bigint)`: null if that worker cannot be told right now.
#[pg_extern(sql = false)]
fn cancel_call(owner: i64, task_id: i64) -> Option<bool> {
    if !shmem::available() {
        return Some(false);
    }
    let database = backend::database();
    let told = shmem::write_journal(|shared, journal| shared.cancel_call(journal, database, owner, task_id));
    if told == Some(Told::NotNow) && worker::is_me(owner) {
        log::refuse(
            PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            "a handler cannot cancel itself, nor that many calls of its own worker".into(),
            format!("Cancel at most {} in one task.", crate::shared::MAX_CANCELS),
        );
    }
    match told {
        Some(Told::Marked) => Some(true),
        Some(Told::NotNow) => None,
        None => Some(false),
    }
}

/// `errand.worker_state()`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn worker_state() -> TableIterator<
    'static,
    (
        name!(pid, i32),
        name!(worker_number, i32),
        name!(state, String),
        name!(owner, i64),
        name!(task_id, Option<i64>),
        name!(task_type, Option<String>),
        name!(handler, Option<String>),
        name!(busy_since, Option<TimestampWithTimeZone>),
        name!(in_flight, i32),
        name!(succeeded, i64),
        name!(failed, i64),
        name!(started_at, Option<TimestampWithTimeZone>),
        name!(recent, Vec<i64>),
        name!(runs, i32),
    ),
> {
    if !["worker", "task_status"].iter().any(|view| may_read(view)) {
        log::refuse(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "permission denied for the state of workers".into(),
            "Ask for GRANT SELECT ON queues.worker or queues.task_status.".into(),
        );
    }
    let database = backend::database();
    let slots: Vec<_> = if shmem::available() {
        shmem::read(|shared| shared.slots_of(database).filter(|slot| slot.is_live()).copied().collect())
    } else {
        Vec::new()
    };
    TableIterator::new(slots.into_iter().map(|slot| {
        let running = slot.task_id != 0;
        (
            slot.pid,
            slot.number as i32,
            if slot.is_busy() { "busy" } else { "idle" }.to_owned(),
            slot.owner,
            running.then_some(slot.task_id),
            running.then(|| slot.task_type.as_str().to_owned()),
            running.then(|| slot.handler.as_str().to_owned()),
            running.then(|| timestamp(slot.busy_since)).flatten(),
            slot.in_flight as i32,
            slot.succeeded as i64,
            slot.failed as i64,
            timestamp(slot.started_at),
            slot.recent.into_iter().filter(|id| *id != 0).collect(),
            slot.earlier.runs as i32 + 1,
        )
    }))
}

fn may_read(view: &str) -> bool {
    let name = std::ffi::CString::new(view).unwrap_or_default();
    catalog::may_select(c"queues", &name)
}

fn timestamp(microseconds: i64) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(microseconds).ok()
}

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
fn errand_worker_main(slot: usize) {
    worker::main(slot);
}
process!(errand_worker_main);
