//! The disk space of finished tasks, with that of their errors and calls. It does not depend on a clock.

use crate::queue::Queue;
use crate::report::Reading;
use crate::result::Result;
use crate::run::Run;
use crate::server::Server;

/// Tasks of a kind: an expression for each column, where `n` runs from 1.
struct Kind {
    name: &'static str,
    task_type: &'static str,
    payload: &'static str,
    queue_key: &'static str,
}

const SMALL: &str = r#"'{"db_function": "bench.nothing", "customer": 4711}'"#;

const KINDS: [Kind; 4] = [
    Kind { name: "plain", task_type: "db_function", payload: SMALL, queue_key: "null" },
    Kind {
        name: "with a queue key",
        task_type: "db_function",
        payload: SMALL,
        queue_key: "'key ' || n % 1000",
    },
    Kind {
        name: "failed",
        task_type: "db_function",
        payload: r#"'{"db_function": "bench.refuse", "customer": 4711}'"#,
        queue_key: "null",
    },
    Kind {
        name: "with a call",
        task_type: "sms",
        payload: r#"'{"before_handler": "bench.message"}'"#,
        queue_key: "null",
    },
];

pub fn run(run: &mut Run) -> Result<()> {
    let tasks = run.scale.of(2000, 100_000, 1_000_000);
    run.note(format!("after {tasks} tasks of each kind, each kind on a new server; vacuumed"));
    for kind in &KINDS {
        measure(run, kind, tasks)?;
    }
    Ok(())
}

fn measure(run: &mut Run, kind: &Kind, tasks: i64) -> Result<()> {
    let server = Server::start(&[])?;
    let mut queue = Queue::open(&server)?;
    queue.pause()?;
    let Kind { name, task_type, payload, queue_key } = kind;
    queue.sql.batch_execute(&format!(
        "insert into queues.task (task_type, payload, queue_key)
         select '{task_type}', {payload}, {queue_key} from generate_series(1, {tasks}) n"
    ))?;
    queue.resume()?;
    queue.wait()?;
    let mut all = 0.0;
    for (what, size) in [
        ("table", "pg_table_size('queues.task')"),
        ("indexes", "pg_indexes_size('queues.task')"),
        ("errors", "pg_total_relation_size('queues.error')"),
        ("calls", "pg_total_relation_size('queues.call')"),
    ] {
        let table = size.split('\'').nth(1).unwrap_or_default();
        queue.sql.batch_execute(&format!("vacuum {table}"))?;
        let bytes = queue.one::<i64>(&format!("select {size}"))? as f64 / tasks as f64;
        all += bytes;
        run.read(Reading::new(format!("{name}: {what}"), bytes, "bytes/task"));
    }
    run.read(Reading::new(format!("{name}: all"), all, "bytes/task"));
    Ok(())
}
