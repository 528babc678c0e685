//! The questions of docs/questions.md: what the views answer, that no statement of that page reads the whole table, and who may
//! ask.

use std::collections::HashMap;

use postgres::Client;
use serde_json::json;

use crate::harness::builder::Builder;
use crate::harness::calling::{Calling, ok};
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, install, one, payload, run_one, runner, task};
use crate::harness::pages::sql_blocks;
use crate::harness::queue::{enqueue, wait_status};
use crate::harness::wait::wait_until_sql;

const PAGE: &str = include_str!("../docs/questions.md");
const PAUSED: [(&str, &str); 1] = [("pg_errand.concurrency", "0")];
const ONE_WORKER: [(&str, &str); 2] = [("pg_errand.concurrency", "1"), ("pg_errand.poll_interval", "1h")];

/// Many tasks that have ended, some that failed, few that wait; without their triggers and with statistics.
const FILL: &str = "
    set session_replication_role = replica;
    insert into queues.task (task_type, payload, dequeued_at, attempts, finished_at, final_status)
    select case when n % 2 = 0 then 'email' else 'db_function' end, '{}', now(), 1, now(),
        case when n % 500 = 0 then 'failed' when n % 501 = 0 then 'cancelled' else 'succeeded' end
    from generate_series(1, 50000) n;
    insert into queues.error (task_id, error_message, task_type)
    select task_id, 'there is no customer ' || task_id, task_type from queues.task where final_status = 'failed';
    insert into queues.error (error_message, created_at)
    select 'error ' || n, now() - interval '2 hours' from generate_series(1, 5000) n;
    insert into queues.task (task_type, payload, scheduled_at, priority, queue_key)
    select 'db_function', '{}', now() + case when n % 3 = 0 then interval '1 day' else '0' end,
        case when n % 7 = 0 then 5 end, case when n % 11 = 0 then 'k' || n % 4 end
    from generate_series(1, 200) n;
    reset session_replication_role;
    analyze queues.task; analyze queues.error; analyze queues.call;";

/// The statements of the page.
fn statements() -> Vec<String> {
    sql_blocks(PAGE).map(|block| block.trim_end_matches(';').to_owned()).collect()
}

/// How often the tables of tasks and errors were read as a whole.
fn whole_reads(client: &mut Client) -> i64 {
    client.batch_execute("select pg_stat_force_next_flush()").unwrap();
    let reads = "select sum(seq_scan)::bigint from pg_stat_user_tables
        where schemaname = 'queues' and relname in ('task', 'error')";
    one(client, reads)
}

fn plan(client: &mut Client, statement: &str) -> String {
    let rows = client.query(&format!("explain {statement}"), &[]).unwrap();
    rows.iter().map(|row| row.get::<_, String>(0) + "\n").collect()
}

/// Asserts that a statement does not read the whole table.
#[track_caller]
fn answered_by_index(client: &mut Client, statement: &str) {
    let plan = plan(client, statement);
    assert!(
        !plan.contains("Seq Scan on task ") && !plan.contains("Seq Scan on error"),
        "{statement}\n{plan}"
    );
    assert!(!plan.contains("JIT"), "{statement}\n{plan}");
}

fn filled() -> (Cluster, Client) {
    let cluster = Cluster::start(&PAUSED);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(FILL).unwrap();
    (cluster, client)
}

#[test]
fn the_statements_of_the_page_run_and_read_no_whole_table() {
    let (_cluster, mut client) = filled();
    let statements = statements();
    assert!(statements.len() >= 15, "{statements:?}");
    for statement in &statements {
        client.query(statement, &[]).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        assert!(!statement.contains('\n'), "{statement}");
        answered_by_index(&mut client, statement);
    }
    // What functions read is in no plan. The statistics know nothing of these tasks, so queues.last_ended has to search.
    for statement in statements.iter().filter(|statement| !statement.contains("last_ended")) {
        let before = whole_reads(&mut client);
        client.query(statement, &[]).unwrap();
        assert_eq!(whole_reads(&mut client), before, "{statement}");
    }
}

#[test]
fn conditions_on_the_status_are_answered_by_index() {
    let (_cluster, mut client) = filled();
    for condition in [
        "where status = 'failed'",
        "where 'failed' = status",
        "where status = 'failed' order by task_id desc limit 20",
        "where status = 'cancelled' order by task_id desc limit 20",
        "where status in ('failed', 'cancelled')",
        "where status = 'failed' and task_type = 'db_function' order by task_id desc limit 20",
        "where status = 'running'",
        "where status = 'running' order by task_id desc limit 20",
        "where status in ('ready', 'running')",
        "where status = 'ready' order by scheduled_at limit 20",
        "where status = 'scheduled'",
        "where finished_at is null",
        "where task_id = 77",
    ] {
        answered_by_index(&mut client, &format!("select * from queues.task_status {condition}"));
        let inner = format!("select count(*) from (select * from queues.task_status offset 0) t {condition}");
        let outer = format!("select count(*) from (select * from queues.task_status {condition}) t");
        if !condition.contains("limit") {
            assert_eq!(one::<i64>(&mut client, &outer), one::<i64>(&mut client, &inner), "{condition}");
        }
    }
    // A parameter, in a plan for its value.
    client.batch_execute("prepare q (text) as select * from queues.task_status where status = $1").unwrap();
    answered_by_index(&mut client, "execute q ('failed')");
}

#[test]
fn conditions_that_imply_nothing_change_nothing() {
    let (_cluster, mut client) = filled();
    let count = |client: &mut Client, sql: &str| one::<i64>(client, sql);
    let all = count(&mut client, "select count(*) from queues.task_status");
    assert_eq!(all, 50_200);
    let not_failed = count(&mut client, "select count(*) from queues.task_status where status <> 'failed'");
    assert_eq!(not_failed, all - 100);
    let mixed = "select count(*) from queues.task_status where status in ('failed', 'ready') or task_id = 1";
    assert!(count(&mut client, mixed) > 200);
    let none = "select count(*) from queues.task_status where status = 'failed' and status = 'ready'";
    assert_eq!(count(&mut client, none), 0);
    // Conditions on the other side of an outer join say nothing about the rows that are joined.
    let joined = "select count(*) from (values (1::bigint), (50001), (-1)) v (id)
        left join queues.task_status s on s.task_id = v.id";
    assert_eq!(count(&mut client, &format!("{joined} where s.finished_at is null")), 2);
    assert_eq!(count(&mut client, &format!("{joined} where s.status = 'succeeded'")), 1);
    assert_eq!(count(&mut client, &format!("{joined} and s.status = 'failed'")), 3);
    let anti = format!("{joined} and s.status = 'succeeded' where s.task_id is null");
    assert_eq!(count(&mut client, &anti), 2);
}

#[test]
fn unadopted_tasks_are_found_by_index() {
    let (_cluster, mut client) = filled();
    client
        .batch_execute(
            "set session_replication_role = replica;
             update queues.task set origin = case when task_id % 2 = 0 then 1 else 9223372036854775807 end
             where task_id % 5 = 0;
             update queues.task set calling = true where task_id in (50100, 50105) and finished_at is null;
             insert into queues.call (task_id, owner, provider, idempotency_key, request)
             select t.task_id, 1, 'http', 'k' || t.task_id, '{}' from queues.task t where t.calling;
             reset session_replication_role;
             analyze queues.task",
        )
        .unwrap();
    answered_by_index(&mut client, "select * from queues.unadopted");
    let counted = "select string_agg(origin || ':' || tasks, ' ' order by origin) from queues.unadopted";
    let rows = "select string_agg(origin || ':' || tasks, ' ' order by origin) from (
        select origin, count(*) as tasks from queues.task
        where finished_at is null and origin in (1, 9223372036854775807) group by origin) t";
    let (counted, rows): (String, String) = (one(&mut client, counted), one(&mut client, rows));
    assert_eq!(counted, rows);
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.task where calling"), 2);
}

#[test]
fn a_view_without_its_index_is_slower_and_right() {
    let (_cluster, mut client) = filled();
    let failed = "select count(*) from queues.task_status where status = 'failed'";
    let ready = "select sum(tasks)::bigint from queues.waiting";
    let before: (i64, i64) = (one(&mut client, failed), one(&mut client, ready));
    let drop = "drop index queues.task_not_succeeded, queues.task_ready, queues.task_prioritized";
    client.batch_execute(drop).unwrap();
    assert_eq!((one::<i64>(&mut client, failed), one::<i64>(&mut client, ready)), before);
}

#[test]
fn what_runs_is_told_with_where_it_runs() {
    let (open, opened) = std::sync::mpsc::channel::<()>();
    let settings = [("pg_errand.concurrency", "2"), ("pg_errand.poll_interval", "1h")];
    let mut calling = Calling::start(&settings, move |_| {
        let _ = opened.recv();
        ok()
    });
    calling.register("api", json!({}));
    let call = calling.call("api", json!({"path": "/", "body": 1}));
    wait_until_sql(&mut calling.client, "select string_agg(runs_in, ',') from queues.running", "call");
    let row = calling.client.query_one("select * from queues.running", &[]).unwrap();
    assert_eq!((row.get::<_, i64>("task_id"), row.get::<_, &str>("provider")), (call, "api"));
    assert!(row.get::<_, Option<std::time::SystemTime>>("since").is_some());
    drop(open);
    calling.wait(call, "succeeded");

    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    let running = task(&mut client, "gate", json!({"gate": 1}));
    let pid = runner(&mut client, running);
    let leased = task(&mut client, "note", json!({"label": "outside"}));
    let dequeued: Option<i64> = one(&mut client, "select task_id from queues.dequeue_next_available_task()");
    assert_eq!(dequeued, Some(leased));
    let rows = client.query("select * from queues.running order by task_id", &[]).unwrap();
    let shown: Vec<(i64, &str, Option<i32>, Option<&str>)> = rows
        .iter()
        .map(|row| (row.get("task_id"), row.get("runs_in"), row.get("pid"), row.get("handler")))
        .collect();
    assert_eq!(shown, [(running, "worker", Some(pid), Some("public.gate")), (leased, "outside", None, None)]);
    let status = "select string_agg(task_id::text, ',' order by task_id) from queues.task_status where status = 'running'";
    assert_eq!(one::<String>(&mut client, status), format!("{running},{leased}"));
    gate.open();
}

/// The counts by type and reason, with the reasons of ready tasks as one.
fn counts(client: &mut Client, sql: &str) -> HashMap<(String, String), i64> {
    let mut counts = HashMap::new();
    for row in client.query(sql, &[]).unwrap() {
        let reason: String = row.get(1);
        let reason = match reason.as_str() {
            "behind" | "next" | "workers_busy" => "ready",
            other => other,
        };
        *counts.entry((row.get(0), reason.to_owned())).or_default() += row.get::<_, i64>(2);
    }
    counts
}

#[test]
fn what_waits_is_counted_by_the_reasons_of_explain() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "insert into queues.task_definition (task_type, processor, granted_to, max_running) values
                 ('limited', 'db_function', '{public}', 1), ('other', 'db_function', '{public}', null)",
        )
        .unwrap();
    let gate = Gate::close(&cluster, "postgres", 1);
    let running = enqueue(&mut client, "limited", payload("gate", json!({"gate": 1})));
    runner(&mut client, running);
    client
        .batch_execute(
            "select queues.enqueue('other', '{}') from generate_series(1, 20);
             select queues.enqueue('other', '{}', now() + interval '1 day') from generate_series(1, 7);
             select queues.enqueue('other', '{}', _priority => 3) from generate_series(1, 5);
             select queues.enqueue('limited', '{}') from generate_series(1, 4);
             select queues.enqueue('other', '{}', _queue_key => 'k') from generate_series(1, 6);
             select queues.enqueue('other', '{}', _queue_key => 'p') from generate_series(1, 3);
             select queues.pause_key('other', 'p');
             update queues.task set not_before = now() + interval '1 hour'
             where task_id in (select task_id from queues.task where finished_at is null and priority = 3 limit 2);
             set session_replication_role = replica;
             insert into queues.task (task_type, payload, origin) select 'other', '{}', 4711 from generate_series(1, 2);
             reset session_replication_role;",
        )
        .unwrap();
    let each = "select t.task_type, e.reason, count(*) from queues.task_status t
        cross join lateral queues.explain(t.task_id) e
        where t.finished_at is null and t.status <> 'running' group by 1, 2";
    let view = "select task_type, reason, tasks from queues.waiting";
    let expected = counts(&mut client, each);
    assert!(expected.len() >= 7, "{expected:?}");
    assert_eq!(counts(&mut client, view), expected);
    let until = "select until > now() from queues.waiting where reason = 'scheduled'";
    assert!(one::<bool>(&mut client, until));

    let oldest =
        "select string_agg(task_type || ' ' || task_id, ', ' order by task_type) from queues.oldest_ready";
    let by_rows = "select string_agg(task_type || ' ' || task_id, ', ' order by task_type) from (
            select distinct on (t.task_type) t.task_type, t.task_id
            from queues.task_status t
            join queues.task r using (task_id)
            where t.status = 'ready' and not t.unadopted and coalesce(r.not_before, '-infinity') <= now()
                and t.queue_key is distinct from 'p'
            order by t.task_type, t.scheduled_at, t.task_id
        ) t";
    assert_eq!(one::<String>(&mut client, oldest), one::<String>(&mut client, by_rows));
    gate.open();
}

/// Changes of random waiting tasks, which leave dead rows, rows that moved, and rows of queue keys in other orders.
const SHAKE: &str = "
    select setseed(0.5);
    insert into queues.task_definition (task_type, processor, max_running_per_key) values ('wide', 'db_function', 3);
    set session_replication_role = replica;
    insert into queues.task (task_type, payload, scheduled_at, priority, queue_key, not_before, origin)
    select (array['wide', 'email', 'db_function'])[1 + n % 3], '{}',
        now() + random() * interval '2 h' - interval '90 min', case when random() < 0.2 then 2 end,
        case when random() < 0.4 then 'k' || n % 7 end,
        case when random() < 0.1 then now() + random() * interval '2 h' - interval '1 h' end,
        case when random() < 0.1 then 4711 + n % 3 else errand.queue_origin() end
    from generate_series(1, 3000) n;
    update queues.task set scheduled_at = scheduled_at - random() * interval '1 h'
    where finished_at is null and random() < 0.3;
    update queues.task set queue_key = 'k8', priority = null where finished_at is null and random() < 0.05;
    update queues.task set attempts = 3 where finished_at is null and random() < 0.3;
    update queues.task set follows = case when random() < 0.5 then 1 else 50001 end
    where finished_at is null and random() < 0.05;
    update queues.task set leased = true where not_before is not null and finished_at is null and random() < 0.3;
    update queues.task set calling = true where finished_at is null and random() < 0.05;
    insert into queues.call (task_id, owner, provider, idempotency_key, request)
    select task_id, 1, 'p', task_id, '{}' from queues.task where calling and task_id % 3 > 0;
    update queues.task set finished_at = now(), final_status = 'cancelled', calling = false
    where finished_at is null and random() < 0.05;
    delete from queues.task where finished_at is null and random() < 0.05;
    insert into queues.paused_key (task_type, queue_key, paused_until)
    values ('wide', 'k1', null), ('email', 'k2', now() + '1 h'), ('db_function', 'k3', now() - interval '1 h');
    reset session_replication_role;";

/// Each task that waits, one after the other.
const SLOWLY: &str = "
    with keyed as (
        select t.*, row_number() over (partition by t.origin, t.task_type, t.queue_key order by t.scheduled_at, t.task_id) place
        from queues.task t
        where t.finished_at is null
    ),
    waiting as (
        select t.task_type, t.task_id, t.scheduled_at, t.not_before,
            case
                when t.calling then 'call'
                when t.origin <> errand.queue_origin() then 'unadopted'
                when t.scheduled_at > now() then 'scheduled'
                when t.not_before > now() and t.leased then 'leased'
                when t.not_before > now() then 'deferred'
                when exists (select from queues.task p where p.task_id = t.follows and p.finished_at is null) then 'follows'
                when t.queue_key is null then 'ready'
                when exists (
                    select from queues.paused_key p
                    where (p.task_type, p.queue_key) = (t.task_type, t.queue_key)
                        and coalesce(p.paused_until, 'infinity') > now()
                ) then 'key_paused'
                when t.place > 1 and t.task_type <> 'wide' then 'key_behind'
                else 'key_ready'
            end as class
        from keyed t
        where not t.calling or exists (select from queues.call c where c.task_id = t.task_id)
    )
    select string_agg(w.line, e'\\n' order by w.line)
    from (
        select concat_ws(' ', task_type, class, count(*), min(scheduled_at),
            case when class = 'scheduled' then min(scheduled_at) when class = 'deferred' then min(not_before) end,
            case when class <> 'call' then (array_agg(task_id order by scheduled_at, task_id))[1] end) as line
        from waiting
        where class <> 'leased'
        group by task_type, class
    ) w";

#[test]
fn what_waits_is_counted_right_after_any_change() {
    let (_cluster, mut client) = filled();
    let fast = "select string_agg(w.line, e'\\n' order by w.line) from (
            select concat_ws(' ', task_type, class, tasks, oldest, until, case when class <> 'call' then task_id end) as line
            from errand.waiting_groups()
        ) w";
    let equal = |client: &mut Client| {
        let expected = one::<String>(client, SLOWLY);
        assert_eq!(one::<String>(client, fast), expected);
        expected
    };
    client.batch_execute(SHAKE).unwrap();
    for class in
        ["unadopted", "scheduled", "deferred", "follows", "key_paused", "key_behind", "key_ready", "call"]
    {
        assert!(equal(&mut client).contains(class), "{class}");
    }
    // The other task of a group is one of the group, so it can be asked about in place of the oldest one.
    let others =
        "select count(*) from errand.waiting_groups() g join queues.task t on t.task_id = g.other_task_id
        where t.task_type = g.task_type and t.finished_at is null";
    let groups = "select count(*) from errand.waiting_groups()";
    assert_eq!(one::<i64>(&mut client, others), one::<i64>(&mut client, groups));
    client.batch_execute("vacuum freeze queues.task").unwrap();
    equal(&mut client);
    // Within a transaction that has changed rows itself, and without an index.
    client
        .batch_execute(
            "begin; update queues.task set priority = 7 where finished_at is null and task_id % 5 = 0;
             delete from queues.task where finished_at is null and task_id % 7 = 0",
        )
        .unwrap();
    equal(&mut client);
    client.batch_execute("rollback; drop index queues.task_keyed, queues.task_keyed_due").unwrap();
    equal(&mut client);
}

#[test]
fn unadopted_tasks_are_counted_without_reading_the_table() {
    let (_cluster, mut client) = filled();
    client.batch_execute(SHAKE).unwrap();
    let columns = "string_agg(concat_ws(' ', origin, tasks, first_enqueued_at, last_enqueued_at, first_scheduled_at), ', ' order by origin)";
    let slowly = format!(
        "select {columns} from (
            select origin, count(*) as tasks, min(enqueued_at) as first_enqueued_at, max(enqueued_at) as last_enqueued_at,
                min(scheduled_at) as first_scheduled_at
            from queues.task t
            where finished_at is null and origin <> errand.queue_origin()
                and (not calling or queue_key is not null or exists (select from queues.call c where c.task_id = t.task_id))
            group by origin
        ) o"
    );
    let fast = format!("select {columns} from queues.unadopted");
    let expected = one::<String>(&mut client, &slowly);
    assert_eq!(expected.matches(", ").count(), 2, "{expected}");
    assert_eq!(one::<String>(&mut client, &fast), expected);
    client.batch_execute("delete from queues.task where origin <> errand.queue_origin()").unwrap();
    let before = whole_reads(&mut client);
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.unadopted"), 0);
    assert_eq!(whole_reads(&mut client), before);
}

#[test]
fn failures_are_those_of_a_slow_query() {
    let (_cluster, mut client) = filled();
    client
        .batch_execute(
            "select setseed(0.5);
             insert into queues.error (error_message, created_at, task_type, sqlstate, task_id)
             select case
                     when random() < 0.01 then repeat(md5(n::text) || ' ', 2000)
                     when random() < 0.01 then repeat('x', 100000)
                     else 'reason ' || chr(65 + n % 5) || ' of ' || n
                 end,
                 now() - random() * interval '1 h' - n % 2 * interval '2 h', case when random() < 0.9 then 't' || n % 3 end,
                 case when random() < 0.9 then '2200' || n % 2 end, n
             from generate_series(1, 3000) n;
             delete from queues.error where error_id % 11 = 0",
        )
        .unwrap();
    let line = "string_agg(concat_ws('|', shape, failures, first_at, last_at, task_types, sqlstates), e'\n' order by shape)";
    for period in ["90 min", "1 day", "0"] {
        let slowly = format!(
            "select coalesce({line}, '') from (
                select shape, count(*) as failures, min(failed_at) as first_at, max(failed_at) as last_at,
                    array_agg(distinct task_type) filter (where task_type is not null) as task_types,
                    array_agg(distinct sqlstate) filter (where sqlstate is not null) as sqlstates
                from queues.failure where failed_at > now() - interval '{period}' group by shape
            ) f"
        );
        let fast = format!("select coalesce({line}, '') from queues.failures('{period}')");
        assert_eq!(one::<String>(&mut client, &fast), one::<String>(&mut client, &slowly), "{period}");
    }
    client.batch_execute("drop index queues.error_created_at").unwrap();
    let count = "select sum(failures)::bigint from queues.failures('1 day')";
    assert_eq!(one::<i64>(&mut client, count), one::<i64>(&mut client, "select count(*) from queues.error"));
    // Rows that are older than a column have its default.
    client
        .batch_execute(
            "alter extension pg_errand drop view queues.failure; drop view queues.failure;
             alter table queues.error drop column sqlstate; alter table queues.error add column sqlstate text default '0A000'",
        )
        .unwrap();
    let sqlstates = "select array_agg(distinct s) from queues.failures('1 day') f, unnest(f.sqlstates) s";
    assert_eq!(one::<Vec<String>>(&mut client, sqlstates), ["0A000"]);
}

#[test]
fn the_last_tasks_of_a_rare_type_are_known() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "insert into queues.task_definition (task_type, processor, granted_to) values ('rare', 'db_function', '{public}')",
        )
        .unwrap();
    let run = |client: &mut Client, handler: &str, status: &str| {
        let task = enqueue(client, "rare", payload(handler, json!({"label": "x"})));
        wait_status(client, task, status);
        task
    };
    let mut ended: Vec<i64> = (0..3).map(|_| run(&mut client, "note", "succeeded")).collect();
    ended.push(run(&mut client, "missing", "failed"));
    ended.reverse();
    let last = |client: &mut Client, limit: i64| -> Vec<i64> {
        let ids =
            format!("select coalesce(array_agg(task_id), '{{}}') from queues.last_ended('rare', {limit})");
        one(client, &ids)
    };
    // As many as are asked for are known. So one that no worker has ended is not looked for.
    let unknown = "set session_replication_role = replica;
        insert into queues.task (task_type, payload, finished_at, final_status) values ('rare', '{}', 'infinity', 'succeeded');
        reset session_replication_role";
    client.batch_execute(unknown).unwrap();
    assert_eq!(last(&mut client, 4), ended);
    assert_eq!(last(&mut client, 2), ended[..2]);
    assert_eq!(last(&mut client, 0), [0i64; 0]);
    client.batch_execute("delete from queues.task where finished_at = 'infinity'").unwrap();
    let error = "select last_error from queues.last_ended('rare', 1)";
    assert!(one::<String>(&mut client, error).contains("missing"));

    // The statistics do not know of these, or of one that was removed.
    client.batch_execute(&format!("delete from queues.task where task_id = {}", ended[1])).unwrap();
    client
        .batch_execute(
            "set session_replication_role = replica;
             insert into queues.task (task_id, task_type, payload, enqueued_at, finished_at, final_status)
             select -n, 'rare', '{}', now() - interval '1 day', now() - n * interval '1 hour', 'succeeded'
             from generate_series(1, 50) n;
             reset session_replication_role",
        )
        .unwrap();
    let slowly = "select array_agg(task_id) from (
        select task_id from queues.task where task_type = 'rare' order by finished_at desc, task_id desc limit 40) t";
    assert_eq!(last(&mut client, 40), one::<Vec<i64>>(&mut client, slowly));
    assert_eq!(last(&mut client, 3), [ended[0], ended[2], ended[3]]);
    assert!(client.batch_execute("select queues.last_ended('rare', -1)").is_err());
}

#[test]
fn failures_are_grouped_by_the_shape_of_their_message() {
    let (_cluster, mut client) = filled();
    client
        .batch_execute(
            "insert into queues.error (error_message, task_type, sqlstate) values ('\"a\" is unknown', 'x', '42P01'),
                 ('\"b\" is unknown', 'y', '42P01');
             insert into queues.error (error_message, created_at) values ('long ago', now() - interval '2 hours');",
        )
        .unwrap();
    let rows = client.query("select * from queues.failures()", &[]).unwrap();
    let shown: Vec<(&str, i64)> = rows.iter().map(|row| (row.get("shape"), row.get("failures"))).collect();
    assert_eq!(shown, [("there is no customer <n>", 100), ("\"…\" is unknown", 2)]);
    assert_eq!(rows[1].get::<_, Vec<String>>("task_types"), ["x", "y"]);
    assert_eq!(rows[1].get::<_, &str>("example_message"), "\"b\" is unknown");
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.failures('1 day')"), 4);
    let newest = "select message from queues.failure order by error_id desc limit 1";
    assert_eq!(one::<String>(&mut client, newest), "long ago");
}

#[test]
fn a_task_that_fails_is_found_by_its_status() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    for _ in 0..3 {
        let failing = enqueue(&mut client, "db_function", payload("missing", json!({})));
        wait_status(&mut client, failing, "failed");
        client.batch_execute("set enable_seqscan = off").unwrap();
        let last =
            "select task_id from queues.task_status where status = 'failed' order by task_id desc limit 1";
        assert_eq!(one::<i64>(&mut client, last), failing);
    }
}

#[test]
fn monitors_read_what_shows_no_message_and_standbys_answer() {
    let cluster = Cluster::start(&ONE_WORKER);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    client
        .batch_execute(
            "create role monitor login in role pg_monitor;
             select queues.enqueue('db_function', '{}', now() + interval '1 day');",
        )
        .unwrap();
    let standby = Builder::standby_of(&cluster).start();
    let mut reader = standby.connect("postgres");
    for statement in statements() {
        reader.query(&statement, &[]).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    assert_eq!(one::<String>(&mut reader, "select reason from queues.waiting"), "standby");

    client.batch_execute("set role monitor; set default_transaction_read_only = on").unwrap();
    for view in ["worker", "running", "waiting", "oldest_ready"] {
        client.batch_execute(&format!("select * from queues.{view}")).unwrap();
    }
    assert_eq!(one::<String>(&mut client, "select reason from queues.waiting"), "scheduled");
    for hidden in
        ["queues.task_status", "queues.failure", "queues.task", "errand.waiting()", "errand.active_task"]
    {
        assert!(client.batch_execute(&format!("select * from {hidden}")).is_err(), "{hidden}");
    }
}
