//! Other people's payloads, and what the log can be made to say. For the API key see `secrets`.

use serde_json::json;

use super::{Attack, refused, state};
use crate::harness::queue::{enqueue, wait_status};
use crate::harness::wait::eventually;

/// In a payload; to be found nowhere else.
const PRIVATE: &str = "private-4711";

/// A cluster in which a task with something private waits, another one runs, and a third has ended.
fn start() -> Attack {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "1"), ("pg_errand.max_idle_time", "0")]);
    attack.create(
        "create role app login; grant usage on schema queues to app;
         grant execute on function queues.enqueue to app;
         create role watcher login in role pg_monitor, pg_read_all_stats, pg_stat_scan_tables;
         create function app.wait(payload jsonb) returns jsonb language plpgsql as $$
         begin
             perform pg_advisory_xact_lock_shared(1);
             return '{}';
         end $$;
         select pg_advisory_lock(1)",
    );
    attack.task(json!({"db_function": "app.nothing", "secret": PRIVATE})).unwrap();
    enqueue(&mut attack.client, "db_function", json!({"db_function": "app.wait", "secret": PRIVATE}));
    enqueue(&mut attack.client, "db_function", json!({"db_function": "app.nothing", "secret": PRIVATE}));
    attack.create("analyze queues.task; analyze queues.error; analyze queues.call");
    eventually("the task runs", || {
        attack.text("select count(*) from queues.worker where state = 'busy'") == "1"
    });
    attack
}

#[test]
fn who_may_enqueue_reads_nothing_of_what_others_enqueued() {
    let mut attack = start();
    let mut app = attack.cluster.connect_as("app", "postgres");
    for sql in [
        "table queues.task",
        "explain select * from queues.task",
        "explain (analyze) select * from queues.task where payload ? 'secret'",
        "copy queues.task to stdout",
        "copy (select payload from queues.task) to stdout",
        "select query_to_xml('select * from queues.task', true, true, '')",
        "select table_to_xml('queues.task', true, true, '')",
        "select pg_relation_filepath('queues.task'), pg_read_file(pg_relation_filepath('queues.task'))",
        "lock table queues.task in share mode",
        "create temp view mine as select * from queues.task; select * from mine",
        "delete from queues.task returning payload",
        "update queues.task set payload = payload returning payload",
        "merge into queues.task t using (select 1) s on true when matched then do nothing",
        "do $$ declare r record; begin for r in select payload from queues.task loop raise notice '%', r; end loop; end $$",
        "select pg_catalog.pg_get_object_address('table', '{queues,task}', '{}'), t.* from queues.task t",
        "analyze queues.task; table queues.call",
        "prepare transaction 'x'; table queues.task",
    ] {
        let error = app.simple_query(sql).expect_err(sql);
        let said = format!("{error:?}");
        assert!(!said.contains(PRIVATE), "{sql}: {said}");
    }
    for sql in [
        "select s::text from pg_stats s where schemaname = 'queues'",
        "select s::text from pg_stats_ext_exprs s",
        "select s::text from pg_stat_activity s",
        "select s::text from pg_prepared_statements s",
        "select s::text from pg_locks s",
        "select schema_to_xml('queues', true, true, '')::text",
    ] {
        let rows = format!("{:?}", app.simple_query(sql));
        assert!(!rows.contains(PRIVATE), "{sql}: {rows}");
    }
    let seen = super::text(&mut app, "select count(*) from pg_stats where schemaname = 'queues'");
    assert_eq!(seen, "0");
    // What a worker does is for its role, and for those who may read all statistics.
    let query =
        "select string_agg(query, ' ') from pg_stat_activity where application_name like 'pg_errand worker%'";
    assert_eq!(super::text(&mut app, query), "<insufficient privilege>");
    let mut watcher = attack.cluster.connect_as("watcher", "postgres");
    let seen = super::text(&mut watcher, query);
    assert!(seen.contains("app.wait") && !seen.contains(PRIVATE), "{seen}");
    let all = format!(
        "{:?}",
        watcher.simple_query("select s::text from pg_stat_activity s where query !~ 'secret'")
    );
    assert!(!all.contains(PRIVATE), "{all}");
    refused(&mut watcher, "table queues.task");
    attack.create("select pg_advisory_unlock(1)");
}

#[test]
fn who_may_read_the_views_gets_at_nothing_behind_them() {
    let mut attack = start();
    attack.create(
        "create role reader login; grant usage on schema queues to reader; create schema mine authorization reader;
         grant select on queues.task_status, queues.worker to reader",
    );
    let mut reader = attack.cluster.connect_as("reader", "postgres");
    reader
        .batch_execute(
            "create table mine.leaked (what text);
             create function mine.leak(anyelement) returns boolean language plpgsql cost 0.0001 as $$
             begin
                 insert into mine.leaked values ($1::text);
                 return true;
             end $$;",
        )
        .unwrap();
    for sql in [
        "select count(*) from queues.task_status s where mine.leak(s)",
        "select count(*) from queues.task_status s where mine.leak(last_error) and mine.leak(outcome) and mine.leak(task_type)",
        "select count(*) from queues.worker w where mine.leak(w)",
        "select count(*) from queues.task_status s join queues.worker w on mine.leak(s.task_id) and mine.leak(w.handler)",
    ] {
        reader.simple_query(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    for sql in [
        "select payload from queues.task_status",
        "update queues.task_status set task_type = 'sms'",
        "delete from queues.worker",
        "select * from queues.task_status for update",
        "select errand.worker_state()",
    ] {
        let error = reader.simple_query(sql).expect_err(sql);
        assert!(["42501", "42703", "55000", "0A000"].contains(&&*state(&error)), "{sql}: {error:?}");
    }
    let leaked = attack.text("select string_agg(what, ' ') from mine.leaked");
    assert!(leaked.contains("app.wait") && !leaked.contains(PRIVATE), "{leaked}");
    attack.create("select pg_advisory_unlock(1)");
}

#[test]
fn who_may_enqueue_cannot_forge_lines_of_the_log() {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "1"), ("log_line_prefix", "<%p> ")]);
    let forged = "x\n<1> LOG:  forged\r<1> LOG:  forged";
    for payload in [
        json!({"db_function": forged}),
        json!({"db_function": format!("app.\"{forged}\"")}),
        json!({"db_function": "app.nothing", "success_handler": format!("\"{forged}\"")}),
        json!({"db_function": "app.run_sql", "sql": format!("do $$ begin raise exception '{forged}'; end $$")}),
    ] {
        attack.task(payload).unwrap_err();
    }
    let id = enqueue(&mut attack.client, "sms", json!({"before_handler": format!("\"{forged}\"")}));
    wait_status(&mut attack.client, id, "failed");
    let log = attack.cluster.log();
    assert!(log.contains("forged"), "{log}");
    let lines: Vec<&str> = log.lines().filter(|line| line.starts_with("<1>")).collect();
    assert!(lines.is_empty(), "{lines:#?}");
}
