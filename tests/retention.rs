//! Finished tasks and old errors are removed, also when something is in the way.

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one, run_one, task, wait_asleep};
use crate::harness::wait::wait_until_sql;

/// Workers that don't poll, and none before the test wants them: the first pass is made by the first.
const SETTINGS: [(&str, &str); 3] =
    [("pg_errand.poll_interval", "1h"), ("pg_errand.max_idle_time", "0"), ("pg_errand.concurrency", "0")];

const OLD_TASKS: &str = "
    insert into queues.task (task_type, payload, enqueued_at, scheduled_at, dequeued_at, attempts, finished_at, final_status)
    select 'db_function', '{}', old, old, old, 1, old, 'failed'
    from generate_series(1, 2500), (select now() - interval '30 days' as old) o;
    insert into queues.error (task_id, error_message, created_at)
    select task_id, 'old', finished_at from queues.task order by task_id";

/// Tables of the user's own that point at one old task and one old error each, in the middle.
const REFERENCES: &str = "
    create table public.mail (task_id bigint references queues.task);
    insert into public.mail select task_id from queues.task order by task_id offset 1200 limit 1;
    create table public.incident (error_id bigint references queues.error);
    insert into public.incident select error_id from queues.error order by error_id offset 700 limit 1";

/// Lines about what cannot be removed, and all that went wrong.
fn complaints(cluster: &Cluster, mark: u64) -> Vec<String> {
    let log = cluster.log_since(mark);
    let about = |line: &&str| line.contains("pg_errand.retention)") || line.contains("violates foreign key");
    log.lines().filter(about).map(str::to_owned).collect()
}

#[track_caller]
fn wait_left(client: &mut Client, tasks: i64, errors: i64) {
    let old = "finished_at < now() - interval '7 days'";
    wait_until_sql(client, &format!("select count(*) from queues.task where {old}"), &tasks.to_string());
    wait_until_sql(client, "select count(*) from queues.error", &errors.to_string());
}

#[test]
fn a_row_that_a_foreign_key_keeps_is_left_and_all_others_are_removed() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(OLD_TASKS).unwrap();
    client.batch_execute(REFERENCES).unwrap();
    let mark = cluster.log_mark();
    cluster.set(&[("pg_errand.concurrency", "1")]);
    wait_left(&mut client, 1, 1);
    let kept = "select exists (select from public.mail join queues.task using (task_id))
        and exists (select from public.incident join queues.error using (error_id))";
    assert!(one::<bool>(&mut client, kept));

    // The worker waits for work and takes it up at once, again and again.
    let resting = "select count(*) from queues.worker where state = 'idle'";
    for round in 0..5 {
        wait_until_sql(&mut client, resting, "1");
        run_one(&mut client, &round.to_string());
    }
    let log = complaints(&cluster, mark);
    assert!((1..=4).contains(&log.len()), "{log:#?}");
    for what in ["task", "error"] {
        let about = log.iter().filter(|line| line.contains(&format!("{what} Some("))).count();
        assert!(about <= 2, "{log:#?}");
    }
    // And leaves when it has been idle for long.
    cluster.set(&[("pg_errand.max_idle_time", "100ms")]);
    wait_asleep(&mut client);
    run_one(&mut client, "last");
    wait_asleep(&mut client);
    assert_eq!(complaints(&cluster, mark).len(), log.len());
}

#[test]
fn retention_goes_on_under_a_standing_backlog() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(OLD_TASKS).unwrap();
    let backlog = "insert into queues.task (task_type, payload)
        select 'db_function', '{\"db_function\": \"public.nap\", \"seconds\": 0.01}' from generate_series(1, 20000)";
    client.batch_execute(backlog).unwrap();
    cluster.set(&[("pg_errand.concurrency", "1")]);
    wait_left(&mut client, 0, 0);
    let waiting: i64 = one(&mut client, "select count(*) from queues.task_status where status = 'ready'");
    assert!(waiting > 0);
    // Tasks were run meanwhile.
    assert!(one::<i64>(&mut client, "select count(*) from public.done") > 10);
}

#[test]
fn old_errors_go_although_their_tasks_wait() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "note", json!({"label": "later"}));
    client
        .batch_execute(&format!(
            "update queues.task set scheduled_at = now() + '1 day', enqueued_at = now() - interval '30 days' where task_id = {id};
             insert into queues.error (task_id, error_message, created_at)
             values ({id}, 'old', now() - interval '30 days'), ({id}, 'new', now())"
        ))
        .unwrap();
    cluster.set(&[("pg_errand.concurrency", "1")]);
    wait_until_sql(&mut client, "select string_agg(error_message, ',') from queues.error", "new");
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.task"), 1);
}
