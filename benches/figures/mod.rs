//! The figures, a file each. A new one is a file and a line in `ALL`.

mod calls;
mod durability;
mod end_to_end;
mod latency;
mod limits;
mod old_snapshot;
mod overlapping;
mod paced;
mod soak;
mod throughput;
mod wal;

use crate::{Result, Run};

/// Something that can be measured.
pub struct Figure {
    pub name: &'static str,
    /// In a line, for `--list`.
    pub what: &'static str,
    /// Whether it is measured without being named.
    pub usual: bool,
    pub run: fn(&mut Run) -> Result<()>,
}

const fn figure(name: &'static str, what: &'static str, run: fn(&mut Run) -> Result<()>) -> Figure {
    Figure { name, what, usual: true, run }
}

/// All of them, in the order of the table.
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
    figure("wal", "write-ahead log, row versions and index entries of a task, without noise", wal::run),
];
