//! `queues.enqueue_many` with plain tasks.

use postgres::Client;

use super::{CHECK_INDEXES, INSERTS, SETTINGS, prepare, warm};
use crate::harness::handlers::one;

const MANY: usize = 250;

/// The ids of a batch, and the number of statements that it took.
#[track_caller]
fn batch(client: &mut Client, tasks: &str) -> (Vec<i64>, i64) {
    let before: i64 = one(client, INSERTS);
    let ids = client.query(&format!("select queues.enqueue_many({tasks})"), &[]);
    let ids = ids.unwrap_or_else(|error| panic!("{tasks}: {error:?}")).iter().map(|row| row.get(0)).collect();
    (ids, one::<i64>(client, INSERTS) - before)
}

/// The same array with one more task, because of which a statement inserts all of them.
fn by_statement(tasks: &str) -> String {
    let (all, end) = tasks.rsplit_once(']').unwrap();
    format!(r#"{all}, {{"task_type": "sms", "priority": 0}}]{end}"#)
}

/// The rows of tasks, without what differs.
fn rows(client: &mut Client, ids: &[i64]) -> String {
    let sql = format!(
        "select jsonb_agg((to_jsonb(t) - '{{task_id,enqueued_at,scheduled_at}}'::text[]) ||
             jsonb_build_object('due', nullif(scheduled_at, enqueued_at)) order by task_id)::text
         from queues.task t where task_id = any ('{{{}}}')",
        ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
    );
    one(client, &sql)
}

#[test]
fn a_large_batch_takes_no_statement() {
    let (cluster, _) = prepare(&SETTINGS);
    let mut client = cluster.connect("postgres");
    let tasks = format!(
        "(select jsonb_agg(jsonb_build_object('task_type', 'sms', 'payload', n) order by n)
         from generate_series(1, {MANY}) n)"
    );
    let (ids, statements) = batch(&mut client, &tasks);
    assert_eq!((ids.len(), statements), (MANY, 0));
    let in_order = "select bool_and(payload = to_jsonb(r))
        from (select payload, row_number() over (order by task_id) r from queues.task) t";
    assert!(ids.is_sorted() && one::<bool>(&mut client, in_order));
    client.batch_execute(CHECK_INDEXES).unwrap();
    client
        .batch_execute(
            "create table public.seen (tasks bigint);
             create function public.note_rows() returns trigger language plpgsql as
                 'begin insert into public.seen select count(*) from added; return null; end';
             create trigger mine after insert on queues.task referencing new table as added
                 for each statement execute function public.note_rows()",
        )
        .unwrap();
    assert_eq!(batch(&mut client, &tasks).1, 1);
    assert_eq!(one::<i64>(&mut client, "select tasks from public.seen"), MANY as i64);
}

#[test]
fn batches_are_the_same_with_and_without_statements() {
    let (cluster, mut admin) = prepare(&SETTINGS);
    let mut client = warm(&cluster);
    for (tasks, statements) in [
        (r#"'[{"task_type": "sms", "payload": {"n": 1}}, {"_task_type": "email", "_payload": [2]}]'"#, 0),
        (
            r#"'[{"task_type": "sms"}, {"task_type": "sms", "payload": null}, {"task_type": "sms", "payload": "x"}]'"#,
            0,
        ),
        (
            r#"'[{"task_type": "sms", "scheduled_at": "infinity"}, {"task_type": "sms", "scheduled_at": "1999-01-01"}]'"#,
            0,
        ),
        (
            r#"'[{"task_type": "sms", "_scheduled_at": null}, {"task_type": "sms", "scheduled_at": "-infinity"}]'"#,
            0,
        ),
        (r#"'[{"task_type": "sms", "priority": 4}, {"task_type": "sms"}]'"#, 1),
        (r#"'[{"task_type": "sms", "_payload": 1, "payload": 2}]'"#, 1),
        (r#"'[{"task_type": null, "_task_type": "sms"}]'"#, 1),
    ] {
        let (mut with, taken) = batch(&mut client, &by_statement(tasks));
        assert_eq!(taken, 1, "{tasks}");
        with.pop();
        let (without, taken) = batch(&mut client, tasks);
        assert_eq!(taken, statements, "{tasks}");
        assert_eq!(with.len(), without.len());
        assert_eq!(rows(&mut admin, &with), rows(&mut admin, &without), "{tasks}");
    }
    assert_eq!(batch(&mut client, "'[]'"), (vec![], 0));
}

#[test]
fn bad_batches_are_refused_as_by_a_statement() {
    let (cluster, mut admin) = prepare(&SETTINGS);
    let mut client = warm(&cluster);
    let before: i64 = one(&mut admin, "select count(*) from queues.task");
    for tasks in ["{}", "7", r#""task_type""#] {
        client.query(&format!("select queues.enqueue_many('{tasks}')"), &[]).expect_err(tasks);
    }
    for tasks in [
        r#"[{"task_type": "sms"}, 7]"#,
        r#"[{"task_type": "sms"}, [7]]"#,
        r#"[{"task_type": "sms"}, {"task_typ": "sms"}]"#,
        r#"[{"task_type": "sms"}, {"task_type": "fax"}]"#,
        r#"[{"task_type": "sms"}, {"payload": {}}]"#,
        r#"[{"task_type": "sms"}, {"task_type": 7}]"#,
        r#"[{"task_type": "sms"}, {"task_type": "sms", "scheduled_at": "yesteryear"}]"#,
        r#"[{"task_type": "sms"}, {"task_type": "sms", "scheduled_at": {}}]"#,
        r#"[{"task_type": "sms"}, {"task_type": "sms", "scheduled_at": 7}]"#,
    ] {
        let said = [tasks.to_owned(), by_statement(tasks)].map(|tasks| {
            let error =
                client.query(&format!("select queues.enqueue_many('{tasks}')"), &[]).expect_err(&tasks);
            let said = error.as_db_error().unwrap();
            (said.code().clone(), said.message().to_owned(), said.hint().map(str::to_owned))
        });
        assert_eq!(said[0], said[1], "{tasks}");
    }
    assert_eq!(one::<i64>(&mut admin, "select count(*) from queues.task"), before);
}
