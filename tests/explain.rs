//! `queues.explain` says why a task has not started: each reason on a real server.

mod calls;
mod keys;
mod limits;
mod locks;
mod rows;
mod turns;
mod workers;

use std::time::SystemTime;

use postgres::{Client, Row};

use crate::harness::wait::eventually;

/// A row that `queues.explain` has returned.
#[derive(Debug)]
struct Explained {
    status: String,
    reason: String,
    explanation: String,
    until: Option<SystemTime>,
    task: Option<i64>,
    pid: Option<i32>,
    hint: String,
}

impl Explained {
    fn of(row: &Row) -> Explained {
        Explained {
            status: row.get("status"),
            reason: row.get("reason"),
            explanation: row.get("explanation"),
            until: row.get("until"),
            task: row.get("blocking_task_id"),
            pid: row.get("blocking_pid"),
            hint: row.get::<_, Option<String>>("hint").unwrap_or_default(),
        }
    }

    /// Checks that the reason lasts for a while.
    #[track_caller]
    fn lasts(&self) {
        assert!(self.until.is_some_and(|until| until > SystemTime::now()), "{self:?}");
    }
}

#[track_caller]
fn explain(client: &mut Client, task_id: i64) -> Explained {
    let row = client.query_one("select * from queues.explain($1)", &[&task_id]).unwrap();
    assert_eq!(row.get::<_, i64>("task_id"), task_id);
    let explained = Explained::of(&row);
    assert!(explained.explanation.ends_with('.'), "{explained:?}");
    explained
}

/// Waits until a task waits for this reason.
#[track_caller]
fn wait_reason(client: &mut Client, task_id: i64, reason: &str) -> Explained {
    eventually(&format!("task {task_id} waits: {reason}"), || {
        let explained = explain(client, task_id);
        if explained.reason == reason { Ok(explained) } else { Err(format!("{explained:?}")) }
    })
}
