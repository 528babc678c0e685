//! The figures, a file each. A new one is a file and a line in `ALL`.

mod calls;
mod durability;
mod end_to_end;
mod enqueue;
mod fairness;
mod fairness_outside;
mod fairness_rare;
mod fairness_workers;
mod history;
mod idle;
mod keys;
mod latency;
mod limits;
mod old_snapshot;
mod overlapping;
mod paced;
mod pressure_clients;
mod pressure_databases;
mod pressure_memory;
mod pressure_payload;
mod pressure_tpcb;
mod pressure_workers;
mod priority;
mod questions;
mod removal;
mod scheduled_backlog;
mod sizes;
mod soak;
mod throughput;
mod unique;
mod wal;

use crate::figure::{Figure, by_name, figure};

/// All figures, in the order of the table.
pub const ALL: &[Figure] = &[
    figure("limits", "what the machine can do without a queue: transactions, inserts, flushes", limits::run),
    figure("throughput", "short db_function tasks that wait already, two workers", throughput::run),
    figure("end_to_end", "enqueueing and running at once, row by row and in large batches", end_to_end::run),
    figure("latency", "from the commit's return to the handler's first instruction", latency::run),
    figure(
        "calls",
        "e-mails in flight beside the limit of in-flight calls; processor time, flushes",
        calls::run,
    ),
    figure("old_snapshot", "beside a forgotten transaction that holds a snapshot", old_snapshot::run),
    figure("overlapping", "a steady load beside long transactions that overlap", overlapping::run),
    figure("soak", "a steady load for long, with retention: nothing grows", soak::run),
    figure("history", "beside many finished tasks that are kept", history::run),
    figure("priority", "a task of a high priority before a backlog of plain tasks", priority::run),
    figure("keys", "tasks of many keys, each key in order; beside a key with a long queue", keys::run),
    figure("unique", "fifty sessions that enqueue with unique keys", unique::run),
    figure("scheduled_backlog", "beside many tasks that are scheduled for tomorrow", scheduled_backlog::run),
    figure("wal", "write-ahead log, row versions and index entries of a task, without noise", wal::run),
    figure("fairness", "short tasks behind a long one", fairness::run),
    figure("fairness_rare", "a function behind mails that use every call in flight", fairness_rare::run),
    figure("fairness_workers", "four workers next to two", fairness_workers::run),
    figure("fairness_outside", "workers outside compete with those inside", fairness_outside::run),
    figure("idle", "what databases cost in which nothing is to be done", idle::run),
    figure("enqueue", "next to the same rows into a plain table", enqueue::run),
    by_name("questions", "the questions of docs/questions.md beside many tasks", questions::run),
    by_name("sizes", "the disk space of finished tasks, their errors and calls", sizes::run),
    by_name("removal", "many tasks are removed or cancelled beside a full load", removal::run),
    by_name("pressure_payload", "payloads of 100 bytes, 2 kB and 20 kB", pressure_payload::run),
    by_name("pressure_memory", "1 MB of shared buffers", pressure_memory::run),
    by_name("pressure_tpcb", "beside pgbench's TPC-B", pressure_tpcb::run),
    by_name("pressure_workers", "sixteen workers", pressure_workers::run),
    by_name("pressure_clients", "fifty sessions that enqueue at once", pressure_clients::run),
    by_name("pressure_databases", "many databases with work at once", pressure_databases::run),
];
