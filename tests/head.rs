//! The window of the next tasks is a hint. Whatever happens to the rows, each task is run once, in order, and none is
//! forgotten.

use std::thread;

use postgres::Client;
use serde_json::{Value, json};

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, create_database, done, install, one, payload, run_one, task};
use crate::harness::mailing::Mailing;
use crate::harness::queue::{status, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

const NO_POLL: (&str, &str) = ("pg_errand.poll_interval", "1h");
const POLL: (&str, &str) = ("pg_errand.poll_interval", "100ms");
const ONE_WORKER: (&str, &str) = ("pg_errand.concurrency", "1");
const TWO_WORKERS: (&str, &str) = ("pg_errand.concurrency", "2");
/// More than are known ahead.
const MANY: i64 = 150;

/// A handler that puts a task like its own at the end of the queue, until the door is open.
const CHAIN: &str = "
    create function public.chain(payload jsonb) returns jsonb language plpgsql as $$
    begin
        if not (select open from public.door) then
            perform queues.enqueue('db_function', payload, clock_timestamp());
        end if;
        return '{}';
    end $$";

/// Enqueues so many `note` tasks with one command, labelled `label 1`, `label 2` and so on, the last one due last.
#[track_caller]
fn notes(client: &mut Client, label: &str, count: i64, scheduled_at: &str) {
    client.batch_execute(&insert(label, count, scheduled_at)).unwrap();
}

fn insert(label: &str, count: i64, scheduled_at: &str) -> String {
    format!(
        "insert into queues.task (task_type, payload, scheduled_at)
         select 'db_function', jsonb_build_object('db_function', 'public.note', 'label', '{label} ' || n),
             {scheduled_at} + n * interval '1 us'
         from generate_series(1, {count}) n"
    )
}

/// Enqueues a task that is due at some time.
#[track_caller]
fn at(client: &mut Client, handler: &str, fields: Value, scheduled_at: &str) -> i64 {
    // A time in the past counts as now for callers of `enqueue`.
    let sql = "insert into queues.task (task_type, payload, scheduled_at)
               values ('db_function', $1, $2::text::timestamptz) returning task_id";
    client.query_one(sql, &[&payload(handler, fields), &scheduled_at]).unwrap().get(0)
}

#[track_caller]
fn note_at(client: &mut Client, label: &str, scheduled_at: &str) -> i64 {
    at(client, "note", json!({ "label": label }), scheduled_at)
}

/// Has the only worker run a task that waits for the gate, with so many tasks behind it that it has read as many of
/// them as it knows ahead.
#[track_caller]
fn hold_before(cluster: &Cluster, client: &mut Client, count: i64) -> Gate {
    let gate = Gate::close(cluster, "postgres", 1);
    client.batch_execute("begin").unwrap();
    at(client, "gate", json!({"gate": 1, "label": "gate"}), "-infinity");
    notes(client, "waiting", count, "now()");
    client.batch_execute("commit").unwrap();
    wait_until_sql(client, "select count(*) from queues.worker where handler = 'public.gate'", "1");
    gate
}

/// Keeps all workers busy with a queue that never ends.
#[track_caller]
fn busy(client: &mut Client, tasks: i64) {
    client.batch_execute(CHAIN).unwrap();
    let sql = "insert into queues.task (task_type, payload) select 'db_function', $1 from generate_series(1, $2::bigint)";
    client.execute(sql, &[&payload("chain", json!({})), &tasks]).unwrap();
}

#[track_caller]
fn wait_done(client: &mut Client, label: &str, count: i64) {
    let sql = format!("select count(*) from public.done where label like '{label}%'");
    wait_until_sql(client, &sql, &count.to_string());
}

#[track_caller]
fn wait_all(client: &mut Client) {
    wait_until_sql(client, "select count(*) from queues.task where finished_at is null", "0");
}

/// Every task has been run to its end, once.
#[track_caller]
fn assert_once(client: &mut Client) {
    wait_all(client);
    let twice = "select coalesce(string_agg(label, ', '), '') from
        (select label from public.done group by label having count(*) > 1) t";
    assert_eq!(one::<String>(client, twice), "");
    let without = "select coalesce(left(string_agg(task_id || ' ' || final_status || ' ' || attempts, ', '), 300), '')
        from queues.task t
        where (final_status, attempts) <> ('succeeded', 1) and final_status <> 'cancelled'
            or (final_status = 'succeeded') <> exists (select from public.done where label = t.payload ->> 'label')";
    assert_eq!(one::<String>(client, without), "");
}

/// Tasks were run in the order of the queue.
#[track_caller]
fn assert_in_order(client: &mut Client) {
    let expected: Vec<String> =
        one(client, "select array_agg(payload ->> 'label' order by scheduled_at, task_id) from queues.task");
    assert_eq!(done(client), expected);
}

#[test]
fn one_worker_keeps_the_order_whatever_is_committed_while_others_wait() {
    let cluster = Cluster::start(&[NO_POLL, ONE_WORKER]);
    let mut client = install(&cluster, "postgres");
    for waiting in [0, 3, MANY] {
        client.batch_execute("truncate queues.task, public.done").unwrap();
        note_at(&mut client, "first of all", "-infinity");
        wait_all(&mut client);
        let gate = hold_before(&cluster, &mut client, waiting);
        note_at(&mut client, "now", "now");
        notes(&mut client, "some", 7, "now() - interval '1 h'");
        note_at(&mut client, "always", "-infinity");
        notes(&mut client, "few", 3, "now() - interval '2 h'");
        notes(&mut client, "many", MANY, "now() - interval '3 h'");
        note_at(&mut client, "between", "now");
        note_at(&mut client, "always, too", "-infinity");
        gate.open();
        wait_all(&mut client);
        assert_in_order(&mut client);
    }
}

#[test]
fn a_task_that_falls_due_while_all_are_busy_comes_before_one_that_is_enqueued_later() {
    let cluster = Cluster::start(&[NO_POLL, ONE_WORKER]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    let gate = hold_before(&cluster, &mut client, 0);
    let due: String = one(&mut client, "select (clock_timestamp() + '100 ms')::text");
    note_at(&mut client, "due", &due);
    wait_until_sql(&mut client, &format!("select clock_timestamp() > '{due}'"), "t");
    note_at(&mut client, "later", "now");
    gate.open();
    wait_all(&mut client);
    assert_eq!(done(&mut client), ["first", "gate", "due", "later"]);
}

#[test]
fn a_task_due_later_is_not_forgotten_over_one_of_the_same_commit_that_is_due_now() {
    let cluster = Cluster::start(&[NO_POLL, ONE_WORKER]);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "first");
    busy(&mut client, 1);
    client.batch_execute("begin").unwrap();
    let due: String = one(&mut client, "select (clock_timestamp() + '300 ms')::text");
    note_at(&mut client, "due", &due);
    note_at(&mut client, "now", "now");
    client.batch_execute("commit").unwrap();
    wait_done(&mut client, "now", 1);
    wait_done(&mut client, "due", 1);
    client.batch_execute("update public.door set open = true").unwrap();
    wait_all(&mut client);
}

/// Has transactions that began before all others commit last, each with tasks that come first.
#[track_caller]
fn late_commits_are_found(cluster: &Cluster, client: &mut Client, waiting: i64) {
    let before = "clock_timestamp() - interval '1 h'";
    let copied = |label: &str| {
        let line =
            |n| format!("db_function\t{}\n", payload("note", json!({"label": format!("{label} {n}")})));
        (1..=MANY).map(line).collect::<String>()
    };
    let ways: [(i64, String); 9] = [
        (1, insert("way", 1, before)),
        (4, insert("way", 4, before)),
        (5, insert("way", 5, before)),
        (500, insert("way", 500, before)),
        (3, format!("savepoint s; {}; rollback to s; {}", insert("undone", 4, before), insert("way", 3, before))),
        (3, format!("{}; savepoint s; {}; rollback to s", insert("way", 3, before), insert("undone", MANY, before))),
        (1, format!("savepoint s; {}; release s; savepoint t; {}; rollback to t", insert("way", 1, before), insert("undone", 1, "'-infinity'::timestamptz"))),
        (2, format!("{} on conflict do nothing; insert into queues.task (task_id, task_type, payload, scheduled_at)
            select task_id, task_type, payload, '-infinity' from queues.task on conflict do nothing", insert("way", 2, before))),
        (MANY, String::new()),
    ];
    for (count, sql) in ways {
        client.batch_execute("truncate queues.task, public.done").unwrap();
        let mut late = cluster.connect("postgres");
        late.batch_execute("begin").unwrap();
        late.execute("select now()", &[]).unwrap();
        if sql.is_empty() {
            let mut copy = late.copy_in("copy queues.task (task_type, payload) from stdin").unwrap();
            std::io::Write::write_all(&mut copy, copied("way").as_bytes()).unwrap();
            copy.finish().unwrap();
        } else {
            late.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
        let gate = (waiting > 0).then(|| hold_before(cluster, client, waiting));
        if gate.is_none() {
            run_one(client, "alone");
        }
        late.batch_execute("commit").unwrap();
        drop(gate);
        wait_done(client, "way", count);
        assert_once(client);
        wait_done(client, "undone", 0);
        if waiting > 0 {
            assert_in_order(client);
        }
    }
}

#[test]
fn transactions_that_commit_late_are_heard() {
    let cluster = Cluster::start(&[NO_POLL, ONE_WORKER]);
    let mut client = install(&cluster, "postgres");
    late_commits_are_found(&cluster, &mut client, 0);
}

#[test]
fn transactions_that_commit_late_are_heard_while_others_wait() {
    let cluster = Cluster::start(&[NO_POLL, ONE_WORKER]);
    let mut client = install(&cluster, "postgres");
    late_commits_are_found(&cluster, &mut client, MANY);
}

/// Makes tasks ready that no commit tells of, more than are known ahead.
#[track_caller]
fn what_nobody_announced_is_found(client: &mut Client) {
    // Somebody inserts without the triggers.
    client.batch_execute("alter table queues.task disable trigger task_before_insert").unwrap();
    notes(client, "silent", 200, "now() - interval '1 h'");
    client.batch_execute("alter table queues.task enable always trigger task_before_insert").unwrap();
    wait_done(client, "silent", 200);
    // What has ended is made to run again.
    let again = "update queues.task set finished_at = null, final_status = null, attempts = 0
        where payload ->> 'label' like 'silent%'";
    client.batch_execute(again).unwrap();
    wait_done(client, "silent", 400);
    // What was held is not any more.
    client.batch_execute(&format!("begin; {}", insert("held", 200, "now()"))).unwrap();
    client
        .batch_execute(
            "update queues.task set not_before = 'infinity' where payload ->> 'label' like 'held%'; commit",
        )
        .unwrap();
    client.batch_execute("update queues.task set not_before = null where not_before = 'infinity'").unwrap();
    wait_done(client, "held", 200);
}

#[test]
fn what_nobody_announced_is_found_by_idle_workers() {
    let cluster = Cluster::start(&[POLL, TWO_WORKERS]);
    let mut client = install(&cluster, "postgres");
    what_nobody_announced_is_found(&mut client);
}

#[test]
fn what_nobody_announced_is_found_by_workers_that_are_never_idle() {
    let cluster = Cluster::start(&[POLL, TWO_WORKERS]);
    let mut client = install(&cluster, "postgres");
    busy(&mut client, 100);
    what_nobody_announced_is_found(&mut client);
    client.batch_execute("update public.door set open = true").unwrap();
    wait_all(&mut client);
}

#[test]
fn tasks_whose_rows_another_session_held_as_they_were_to_be_run_are_run_when_that_is_over() {
    let cluster = Cluster::start(&[POLL, ONE_WORKER, ("pg_errand.max_idle_time", "0")]);
    let mut client = install(&cluster, "postgres");
    for (count, end) in [(1, "rollback"), (1, "commit"), (MANY, "rollback")] {
        client.batch_execute("truncate queues.task, public.done").unwrap();
        let gate = hold_before(&cluster, &mut client, count);
        let mut other = cluster.connect("postgres");
        let lock = "begin; select from queues.task where payload ->> 'label' like 'waiting%' for update";
        other.batch_execute(lock).unwrap();
        gate.open();
        // It rests, and has looked again.
        for _ in 0..3 {
            let state = "(select max(state || state_change) from pg_stat_activity where backend_type = 'pg_errand worker')";
            let before: String = one(&mut client, &format!("select {state}"));
            let rests = format!("select {state} like 'idle%' and {state} > '{before}'");
            wait_until_sql(&mut client, &rests, "t");
        }
        assert_eq!(done(&mut client), ["gate"]);
        other.batch_execute(end).unwrap();
        wait_all(&mut client);
        assert_once(&mut client);
    }
}

#[test]
fn tasks_held_back_are_run_when_their_time_has_come_though_others_wait() {
    let cluster = Cluster::start(&[
        NO_POLL,
        ("pg_errand.concurrency", "0"),
        ("pg_errand.lease_duration", "1s"),
        ("pg_errand.log_level", "warning"),
    ]);
    let mut client = install(&cluster, "postgres");
    let fails = "
        create table public.runs (label text);
        create sequence public.run;
        grant usage on sequence public.run to public;
        create function public.fails_first(payload jsonb) returns jsonb language plpgsql as $$
        begin
            if nextval('public.run') <= 200 then
                raise exception 'once more' using errcode = 'serialization_failure';
            end if;
            return public.note(payload);
        end $$";
    client.batch_execute(fails).unwrap();
    // Workers outside take them, and come to nothing.
    notes(&mut client, "leased", MANY, "now() - interval '1 h'");
    client
        .batch_execute(&format!(
            "select queues.dequeue_next_available_task() from generate_series(1, {MANY})"
        ))
        .unwrap();
    for n in 1..=100 {
        at(&mut client, "fails_first", json!({"label": format!("repeated {n}")}), "-infinity");
    }
    busy(&mut client, 100);
    cluster.set(&[TWO_WORKERS]);
    wait_done(&mut client, "leased", MANY);
    wait_done(&mut client, "repeated", 100);
    client.batch_execute("update public.door set open = true").unwrap();
    wait_all(&mut client);
    let twice = "select count(*) from queues.task where payload ->> 'label' like 'leased%' and attempts <> 2";
    assert_eq!(one::<i64>(&mut client, twice), 0);
}

#[test]
fn functions_are_run_though_all_workers_are_full_of_calls() {
    let settings =
        [NO_POLL, TWO_WORKERS, ("pg_errand.call_timeout", "10min"), ("pg_errand.max_in_flight", "1")];
    let mut mailing = Mailing::start(&settings);
    mailing.standin.hold();
    mailing.client.batch_execute("begin").unwrap();
    for n in 0..300 {
        mailing.send(&format!("someone{n}@mail.test"));
    }
    mailing.client.batch_execute("commit").unwrap();
    mailing.wait_held(2);
    for _ in 0..3 {
        mailing.run_function("app.note");
    }
    assert_eq!((mailing.standin.held(), mailing.standin.mail_count()), (2, 2));
    mailing.standin.release();
    wait_all(&mut mailing.client);
    assert_eq!((mailing.standin.mail_count(), mailing.seen("success").len()), (300, 300));
}

#[test]
fn a_slow_task_among_short_ones_holds_up_none_of_them() {
    let cluster = Cluster::start(&[NO_POLL, TWO_WORKERS]);
    let mut client = install(&cluster, "postgres");
    let gate = Gate::close(&cluster, "postgres", 1);
    client.batch_execute("begin").unwrap();
    notes(&mut client, "before", 200, "now()");
    let slow = task(&mut client, "gate", json!({"gate": 1, "label": "slow"}));
    notes(&mut client, "after", 200, "now()");
    client.batch_execute("commit").unwrap();
    wait_done(&mut client, "before", 200);
    wait_done(&mut client, "after", 200);
    assert_eq!(status(&mut client, slow), "running");
    gate.open();
    assert_once(&mut client);
}

/// What is to be seen of tasks that ended, apart from times.
#[track_caller]
fn ends(client: &mut Client) -> String {
    let sql = "select string_agg(concat_ws(',', payload ->> 'label', final_status, attempts, leased, calling,
            not_before, outcome, dequeued_at >= enqueued_at, finished_at >= dequeued_at,
            (select count(*) from queues.error e where e.task_id = t.task_id)), ';' order by payload ->> 'label')
        from queues.task t";
    one(client, sql)
}

#[track_caller]
fn some_of_each(client: &mut Client) {
    client.batch_execute("begin").unwrap();
    notes(client, "good", 20, "now()");
    for n in 0..3 {
        task(client, "refuse", json!({"label": format!("refused {n}"), "error_handler": "public.note"}));
        task(client, "note", json!({"label": format!("handled {n}"), "success_handler": "public.note"}));
        task(client, "warn", json!({"label": format!("warned {n}")}));
    }
    client.batch_execute("commit").unwrap();
    wait_all(client);
}

/// Things that users add to the table, and how they are removed.
const ADDED: [(&str, &str); 8] = [
    (
        "create trigger b before update on queues.task for each row execute function public.count_row()",
        "drop trigger b on queues.task",
    ),
    (
        "create trigger a after update on queues.task for each row execute function public.count_row()",
        "drop trigger a on queues.task",
    ),
    (
        "create constraint trigger c after update on queues.task deferrable initially deferred for each row execute function public.count_row()",
        "drop trigger c on queues.task",
    ),
    (
        "create trigger s after update on queues.task for each statement execute function public.count_row()",
        "drop trigger s on queues.task",
    ),
    (
        "alter table queues.task add constraint fine check (attempts < 10)",
        "alter table queues.task drop constraint fine",
    ),
    ("create index mine on queues.task (final_status, finished_at)", "drop index queues.mine"),
    (
        "create rule r as on update to queues.task do also insert into public.counted default values",
        "drop rule r on queues.task",
    ),
    (
        "create table public.child (task_id bigint references queues.task on delete cascade); insert into public.child select task_id from queues.task",
        "drop table public.child",
    ),
];

const COUNTED: &str = "
    create table public.counted (n bigint generated always as identity);
    grant all on public.counted to public;
    create function public.count_row() returns trigger language plpgsql as $$
    begin
        insert into public.counted default values;
        return new;
    end $$;
    create function public.warn(payload jsonb) returns jsonb language sql as $$
        select public.note(payload); select '{\"status\": \"skipped\"}'::jsonb
    $$";

#[test]
fn tasks_end_the_same_way_whatever_users_add_to_the_table() {
    let cluster = Cluster::start(&[NO_POLL, TWO_WORKERS]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(COUNTED).unwrap();
    some_of_each(&mut client);
    let plain = ends(&mut client);
    for (add, remove) in ADDED {
        client.batch_execute("truncate queues.task, public.done, public.counted").unwrap();
        client.batch_execute(add).unwrap_or_else(|error| panic!("{add}: {error:?}"));
        some_of_each(&mut client);
        assert_eq!(ends(&mut client), plain, "{add}");
        let counts = !["constraint fine", "index", "table"].iter().any(|what| add.contains(what));
        let counted: i64 = one(&mut client, "select count(*) from public.counted");
        assert_eq!(counted, if counts { 29 } else { 0 }, "{add}");
        client.batch_execute(remove).unwrap();
    }
}

#[test]
fn an_index_of_the_user_s_finds_what_ended_while_it_was_there() {
    let cluster = Cluster::start(&[NO_POLL, TWO_WORKERS]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("create extension amcheck").unwrap();
    busy(&mut client, 20);
    for round in 0..10 {
        let concurrently = if round % 2 == 0 { "concurrently" } else { "" };
        client
            .batch_execute(&format!(
                "create index {concurrently} mine on queues.task (final_status, task_id)"
            ))
            .unwrap();
        notes(&mut client, &format!("round {round}"), 50, "now() - interval '1 h'");
        wait_done(&mut client, &format!("round {round}"), 50);
        client.batch_execute("select bt_index_check('queues.mine', true)").unwrap();
        client.batch_execute(&format!("drop index {concurrently} queues.mine")).unwrap();
    }
    client.batch_execute("update public.door set open = true").unwrap();
    wait_all(&mut client);
    client.batch_execute("select bt_index_check('queues.task_pkey', true), bt_index_check('queues.task_ready', true), bt_index_check('queues.task_prioritized', true), bt_index_check('queues.task_deferred', true)").unwrap();
}

#[test]
fn what_users_add_and_remove_while_workers_are_busy_costs_no_task() {
    let cluster = Cluster::start(&[NO_POLL, TWO_WORKERS]);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(COUNTED).unwrap();
    for (add, remove) in ADDED {
        notes(&mut client, add, 300, "now()");
        for _ in 0..3 {
            client.batch_execute(add).unwrap_or_else(|error| panic!("{add}: {error:?}"));
            client.batch_execute(remove).unwrap();
        }
    }
    assert_once(&mut client);
}

#[test]
fn a_task_whose_end_a_constraint_forbids_waits_and_others_run() {
    let cluster = Cluster::start(&[NO_POLL, ONE_WORKER]);
    let mut client = install(&cluster, "postgres");
    let forbid = "alter table queues.task add constraint never_bad
        check (payload ->> 'label' <> 'bad' or finished_at is null)";
    client.batch_execute(forbid).unwrap();
    let bad = note_at(&mut client, "bad", "-infinity");
    notes(&mut client, "good", MANY, "now()");
    wait_done(&mut client, "good", MANY);
    assert_ne!(status(&mut client, bad), "succeeded");
    client.batch_execute("alter table queues.task drop constraint never_bad").unwrap();
    wait_status(&mut client, bad, "succeeded");
    wait_done(&mut client, "bad", 1);
}

/// Commands that move rows to other addresses, or make the ones that are known point to other rows.
const MOVES: [&str; 9] = [
    "vacuum full queues.task",
    "cluster queues.task using task_pkey",
    "reindex table queues.task",
    "reindex table concurrently queues.task",
    "update queues.task set payload = payload || '{\"more\": 1}' where finished_at is null and payload ->> 'label' <> 'gate'",
    "update queues.task set payload = payload || jsonb_build_object('more', repeat('x', 3000)) where finished_at is null and payload ->> 'label' <> 'gate'",
    "update queues.task set scheduled_at = scheduled_at + interval '1 us' where finished_at is null and payload ->> 'label' <> 'gate'",
    "delete from queues.task where payload ->> 'label' like '%7'",
    "vacuum queues.task",
];

#[test]
fn tasks_that_move_while_they_are_known_are_run() {
    let cluster = Cluster::start(&[NO_POLL, ONE_WORKER]);
    let mut client = install(&cluster, "postgres");
    for moves in MOVES {
        client.batch_execute("truncate queues.task, public.done").unwrap();
        let gate = hold_before(&cluster, &mut client, MANY);
        // Makes room before them, so that they move up.
        client.batch_execute("delete from queues.task where payload ->> 'label' = 'waiting 1'").unwrap();
        let mut other = cluster.connect("postgres");
        let moving = thread::spawn(move || other.batch_execute(moves));
        let waits = "select exists (select from pg_locks where not granted and locktype <> 'advisory')";
        eventually("it is done, or is next", || moving.is_finished() || one::<bool>(&mut client, waits));
        gate.open();
        moving.join().unwrap().unwrap_or_else(|error| panic!("{moves}: {error:?}"));
        eventually(moves, || {
            let left: i64 = one(&mut client, "select count(*) from queues.task where finished_at is null");
            if left == 0 { Ok(()) } else { Err(left) }
        });
        assert_once(&mut client);
        assert_eq!(
            done(&mut client).len() as i64,
            if moves.starts_with("delete") { MANY - 15 } else { MANY },
            "{moves}"
        );
        assert_in_order(&mut client);
    }
}

#[test]
fn tasks_that_are_moved_all_the_time_are_run_once() {
    let cluster = Cluster::start(&[NO_POLL, TWO_WORKERS]);
    let mut client = install(&cluster, "postgres");
    for round in 0..3 {
        notes(&mut client, &format!("round {round}"), 1500, "now()");
        for moves in MOVES.into_iter().filter(|moves| !moves.starts_with("delete")) {
            client.batch_execute(moves).unwrap_or_else(|error| panic!("{moves}: {error:?}"));
        }
    }
    assert_once(&mut client);
    wait_done(&mut client, "round", 4500);
}

#[test]
fn numbers_used_again_belong_to_the_new_tasks() {
    let cluster = Cluster::start(&[NO_POLL, ONE_WORKER]);
    let mut client = install(&cluster, "postgres");
    for _ in 0..3 {
        client.batch_execute("truncate queues.task restart identity; truncate public.done").unwrap();
        let gate = hold_before(&cluster, &mut client, MANY);
        let mut other = cluster.connect("postgres");
        let emptying = thread::spawn(move || {
            let again = insert("new", 100, "now() + interval '1 s'");
            other.batch_execute(&format!("begin; truncate queues.task restart identity; {again}; commit"))
        });
        let waits =
            "select exists (select from pg_locks where not granted and relation = 'queues.task'::regclass)";
        wait_until_sql(&mut client, waits, "t");
        gate.open();
        emptying.join().unwrap().unwrap();
        assert_once(&mut client);
        assert_eq!(done(&mut client)[0], "gate");
        wait_done(&mut client, "new", 100);
        wait_done(&mut client, "waiting", 0);
        let early = "select count(*) from queues.task where dequeued_at < scheduled_at";
        assert_eq!(one::<i64>(&mut client, early), 0);
    }
}

#[test]
fn a_handler_that_changes_its_own_task_ends_it_once() {
    let cluster = Cluster::start(&[NO_POLL, ONE_WORKER]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "grant select, update, delete on queues.task to errand_worker;
             grant execute on function queues.complete_task(bigint), queues.fail_task(bigint, text) to errand_worker;
             create function public.does(payload jsonb) returns jsonb language plpgsql as $$
             declare
                 _mine bigint := (select task_id from queues.task t where t.payload ->> 'label' = does.payload ->> 'label');
             begin
                 execute replace(payload ->> 'sql', '$1', _mine::text);
                 return public.note(payload);
             end $$",
        )
        .unwrap();
    let update = "update queues.task set payload = payload || '{\"more\": 1}' where task_id = $1";
    let undone = format!(
        "do $do$ begin {update}; raise division_by_zero; exception when division_by_zero then null; end $do$"
    );
    let cases = [
        (update, "succeeded"),
        ("update queues.task set scheduled_at = now() + interval '1 h' where task_id = $1", "succeeded"),
        ("update queues.task set not_before = now() + interval '1 h' where task_id = $1", "succeeded"),
        ("select from queues.task where task_id = $1 for update", "succeeded"),
        (&undone, "succeeded"),
        ("select queues.complete_task($1)", "succeeded"),
        ("select queues.fail_task($1, 'by hand')", "failed"),
        ("delete from queues.task where task_id = $1", "gone"),
    ];
    for (n, (sql, expected)) in cases.into_iter().enumerate() {
        let label = format!("case {n}");
        let id = task(&mut client, "does", json!({"label": label, "sql": sql}));
        run_one(&mut client, &format!("after {n}"));
        let status = "select coalesce((select final_status from queues.task where task_id = $1), 'gone')";
        let seen: String = client.query_one(status, &[&id]).unwrap().get(0);
        assert_eq!(seen, expected, "{sql}");
        wait_done(&mut client, &label, 1);
    }
    let worker: i64 = one(&mut client, "select count(distinct pid) from public.done");
    assert_eq!(worker, 1);
}

#[test]
fn known_tasks_that_are_cancelled_or_taken_by_workers_outside_are_passed_over() {
    let cluster = Cluster::start(&[POLL, ONE_WORKER, ("pg_errand.lease_duration", "1h")]);
    let mut client = install(&cluster, "postgres");
    let first = |count: i64| {
        format!(
            "(select task_id from queues.task where finished_at is null and payload ->> 'label' <> 'gate' order by scheduled_at, task_id limit {count})"
        )
    };
    // Most of them are cancelled.
    let gate = hold_before(&cluster, &mut client, MANY);
    client.batch_execute(&format!("select queues.cancel(task_id) from {} t", first(140))).unwrap();
    gate.open();
    assert_once(&mut client);
    wait_done(&mut client, "waiting", 10);
    // All of them are, but not for good.
    client.batch_execute("truncate queues.task, public.done").unwrap();
    let gate = hold_before(&cluster, &mut client, MANY);
    let mut other = cluster.connect("postgres");
    other.batch_execute(&format!("begin; select queues.cancel(task_id) from {} t", first(MANY))).unwrap();
    gate.open();
    run_one(&mut client, "meanwhile");
    wait_done(&mut client, "waiting", 0);
    other.batch_execute("rollback").unwrap();
    wait_done(&mut client, "waiting", MANY);
    assert_once(&mut client);
    // Workers outside take them.
    client.batch_execute("truncate queues.task, public.done").unwrap();
    let gate = hold_before(&cluster, &mut client, MANY);
    for _ in 0..100 {
        client
            .batch_execute("select queues.complete_task((queues.dequeue_next_available_task()).task_id)")
            .unwrap();
    }
    gate.open();
    wait_all(&mut client);
    wait_done(&mut client, "waiting", MANY - 100);
    let labels: i64 =
        one(&mut client, "select count(distinct label) from public.done where label like 'waiting%'");
    assert_eq!(labels, MANY - 100);
}

#[test]
fn two_databases_with_sixteen_workers_run_each_task_once() {
    let cluster = Cluster::start(&[
        NO_POLL,
        ("pg_errand.concurrency", "8"),
        ("pg_errand.max_workers", "16"),
        ("max_worker_processes", "32"),
    ]);
    let mut clients = [install(&cluster, "postgres"), create_database(&cluster, "other")];
    for round in 0..10 {
        for client in &mut clients {
            notes(client, &format!("bulk {round}"), 180, "now()");
        }
        for n in 0..20 {
            for client in &mut clients {
                task(client, "note", json!({"label": format!("single {round} {n}")}));
            }
        }
    }
    for client in &mut clients {
        assert_once(client);
        assert_eq!(done(client).len(), 2000);
    }
}

#[test]
fn what_was_known_before_an_extension_was_created_anew_is_not_run() {
    let cluster = Cluster::start(&[NO_POLL, TWO_WORKERS]);
    let mut client = install(&cluster, "postgres");
    for _ in 0..3 {
        let gate = hold_before(&cluster, &mut client, MANY);
        client
            .batch_execute("drop extension pg_errand; truncate public.done; create extension pg_errand")
            .unwrap();
        gate.open();
        notes(&mut client, "new", MANY, "now()");
        assert_once(&mut client);
        wait_done(&mut client, "new", MANY);
        assert_eq!(done(&mut client).len() as i64, MANY);
        client
            .batch_execute("drop extension pg_errand; create extension pg_errand; truncate public.done")
            .unwrap();
    }
}

#[test]
fn tasks_that_were_known_and_became_those_of_another_database_wait_for_their_adoption() {
    let cluster = Cluster::start(&[NO_POLL, ONE_WORKER]);
    let mut client = install(&cluster, "postgres");
    let gate = hold_before(&cluster, &mut client, MANY);
    let others = "update queues.task set origin = 1 where payload ->> 'label' like 'waiting%'";
    client.batch_execute(others).unwrap();
    gate.open();
    run_one(&mut client, "meanwhile");
    wait_done(&mut client, "waiting", 0);
    assert_eq!(one::<i64>(&mut client, "select queues.adopt()"), MANY);
    assert_once(&mut client);
    wait_done(&mut client, "waiting", MANY);
}
