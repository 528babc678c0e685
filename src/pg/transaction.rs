//! Transactions and subtransactions of a worker.

use super::catch::catch;
pub use super::own::is_own;
use super::{activity, interrupt, own};
use crate::error::PgError;
use pgrx::pg_sys;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// How the body of a transaction requests it to end.
pub enum End<R> {
    Commit(R),
    /// Roll back without an error; the value determines what the caller does next.
    RollBack(R),
}

/// Runs `body` in a transaction of its own.
///
/// An ERROR in the body or in the commit rolls the transaction back and is returned.
pub fn run<R>(body: impl FnOnce() -> End<R>) -> Result<R, PgError> {
    let result = catch(|| {
        begin();
        match body() {
            End::Commit(value) => {
                commit();
                (value, false)
            }
            End::RollBack(value) => (value, true),
        }
    });
    match result {
        Ok((value, false)) => Ok(value),
        Ok((value, true)) => {
            abort();
            Ok(value)
        }
        Err(error) => {
            abort();
            Err(error)
        }
    }
}

/// [`run`] for a body that always commits.
pub fn commit_after<R>(body: impl FnOnce() -> R) -> Result<R, PgError> {
    run(|| End::Commit(body()))
}

/// Runs `body` in a subtransaction. An ERROR undoes the effects of the body only, and is returned.
pub fn savepoint<R>(body: impl FnOnce() -> R) -> Result<R, PgError> {
    let result = attempt(body);
    if result.is_err() {
        interrupt::hold_cancel();
    }
    result
}

/// [`savepoint`] for any session: afterwards, cancellations are held off only if they were before.
pub fn attempt<R>(body: impl FnOnce() -> R) -> Result<R, PgError> {
    // SAFETY: within a transaction on the main thread. Context and resource owner are put back as
    // PL/pgSQL does around its exception blocks (pl_exec.c, exec_stmt_block).
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        let held_off = pg_sys::QueryCancelHoldoffCount;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let result = catch(|| {
            let value = body();
            pg_sys::ReleaseCurrentSubTransaction();
            value
        });
        if result.is_err() {
            // The error has reset the count.
            pg_sys::QueryCancelHoldoffCount = held_off;
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}

/// How many transactions and subtransactions are open.
pub fn level() -> i32 {
    // SAFETY: state of this process.
    unsafe { pg_sys::GetCurrentTransactionNestLevel() }
}

/// When the current transaction began (`now()` in SQL), in microseconds since 2000-01-01.
pub fn started_at() -> i64 {
    // SAFETY: state of this process.
    unsafe { pg_sys::GetCurrentTransactionStartTimestamp() }
}

/// True if all statements of the current transaction see the database as of the first one (REPEATABLE READ,
/// SERIALIZABLE).
pub fn has_one_snapshot() -> bool {
    // SAFETY: state of this process.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// Whether the current transaction may commit asynchronously.
static ASYNCHRONOUS: AtomicBool = AtomicBool::new(false);

/// Lets the current transaction commit without waiting for the flush of its WAL, unless it spans servers.
///
/// This is safe if all effects are in the transaction, since a crash loses all of it or nothing.
pub fn commit_asynchronously() {
    ASYNCHRONOUS.store(true, Relaxed);
}

/// Makes the commit that is in progress asynchronous if that is allowed. Called by the callback before the commit.
pub fn skip_wait_if_allowed() {
    if ASYNCHRONOUS.load(Relaxed) {
        // SAFETY: a plain setting, which `commit` puts back. It is given to this commit alone, not through the
        // GUC machinery: what handlers have set is undone already.
        unsafe { pg_sys::synchronous_commit = pg_sys::SyncCommitLevel::SYNCHRONOUS_COMMIT_OFF as _ };
    }
}

/// Waits until all commits of this process have been flushed as `synchronous_commit` requires. It is invoked outside of
/// transactions. There is one wait for all asynchronous commits.
pub fn wait_until_durable() {
    interrupt::ignore_cancel(true);
    // SAFETY: as at the end of a commit (xact.c, RecordTransactionCommit); interrupts are held off, so that nothing is
    // raised while it waits for a standby. The position is that of this process.
    unsafe {
        let end = pg_sys::XactLastCommitEnd;
        if end != 0 && pg_sys::synchronous_commit > pg_sys::SyncCommitLevel::SYNCHRONOUS_COMMIT_OFF as i32 {
            pg_sys::InterruptHoldoffCount += 1;
            pg_sys::XLogFlush(end);
            pg_sys::SyncRepWaitForLSN(end, true);
            pg_sys::InterruptHoldoffCount -= 1;
        }
    }
    interrupt::forget_cancel();
    interrupt::ignore_cancel(false);
}

/// The position up to which WAL has to be flushed for all commits of this process; 0 if there is none.
pub fn last_commit() -> u64 {
    // SAFETY: state of this process.
    unsafe { pg_sys::XactLastCommitEnd }
}

/// Flushes WAL up to a position. Called outside of transactions.
pub fn flush(end: u64) {
    // SAFETY: any process may flush WAL for all others.
    unsafe { pg_sys::XLogFlush(end) }
}

/// Fires deferred triggers and constraint checks in the current subtransaction, so that their errors belong to the
/// handler that caused them.
pub fn fire_deferred_triggers() {
    // SAFETY: within a transaction and outside any query, as CommitTransaction calls it.
    unsafe { pg_sys::AfterTriggerFireDeferred() }
}

fn begin() {
    ASYNCHRONOUS.store(false, Relaxed);
    own::set(true);
    activity::begin_own_query();
    // SAFETY: no transaction is open; now() and due tasks depend on the statement timestamp. SPI requires a snapshot
    // below those that it takes for each statement.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
    }
}

/// Restores `synchronous_commit`, also if the commit raises an error.
struct Restore(i32);

impl Drop for Restore {
    fn drop(&mut self) {
        // SAFETY: a plain setting; main thread.
        unsafe { pg_sys::synchronous_commit = self.0 }
    }
}

fn commit() {
    // A late cancellation must not interrupt the wait for a synchronous standby.
    interrupt::ignore_cancel(true);
    interrupt::forget_cancel();
    // SAFETY: closes the transaction that `begin` opened.
    unsafe {
        pg_sys::PopActiveSnapshot();
        let _restore = Restore(pg_sys::synchronous_commit);
        pg_sys::CommitTransactionCommand();
    }
    own::set(false);
    activity::end_query();
    interrupt::ignore_cancel(false);
}

fn abort() {
    // The commit may have failed after it began to ignore cancellations.
    interrupt::ignore_cancel(false);
    // SAFETY: AbortCurrentTransaction cleans up in every state, also after a failed commit.
    unsafe { pg_sys::AbortCurrentTransaction() };
    own::set(false);
    activity::end_query();
    interrupt::hold_cancel();
}
