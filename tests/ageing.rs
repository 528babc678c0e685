//! Ageing: the priority of a waiting task rises with time, so that none waits for ever behind tasks of a higher one.

use postgres::Client;
use postgres::error::SqlState;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, done, install, one, payload, run_one};
use crate::harness::queue::enqueue;
use crate::harness::wait::wait_until_sql;

const SETTINGS: [(&str, &str); 2] = [("pg_errand.poll_interval", "1h"), ("pg_errand.concurrency", "1")];
const NOTHING_RUNS_INSIDE: (&str, &str) = ("pg_errand.concurrency", "0");
/// More than are known ahead.
const MANY: i64 = 150;

/// The labels of tasks in the order in which they have to start, with the intervals of their types. The first sort key is
/// the effective priority, the second one the time at which the task reached it.
const EXPECTED: &str = "
    select coalesce(array_agg(t.payload ->> 'label' order by
        a.effective desc,
        extract(epoch from t.scheduled_at) + (a.effective - a.priority) * coalesce(a.every, 0),
        t.task_id
    ), '{}')
    from queues.task t
    join queues.task_definition d using (task_type)
    cross join lateral (
        select *, least(priority + case when every is null then 0 else
            floor(extract(epoch from now() - nullif(t.scheduled_at, '-infinity')) / every) end, 32767) as effective
        from (values (coalesce(t.priority, 0), extract(epoch from d.priority_ages_every))) v (priority, every)
    ) a";

#[track_caller]
fn define(client: &mut Client, task_type: &str, ages_every: Option<&str>) {
    let sql = "insert into queues.task_definition (task_type, processor, granted_to, priority_ages_every)
               values ($1, 'db_function', '{public}', $2::text::interval)";
    client.execute(sql, &[&task_type, &ages_every]).unwrap();
}

/// Enqueues a `note` task of this priority that became due so many hours ago, in a transaction of its own.
#[track_caller]
fn note(client: &mut Client, task_type: &str, label: &str, priority: i16, hours: f64) -> i64 {
    let sql = "insert into queues.task (task_type, payload, priority, scheduled_at)
               values ($1, $2, $3, clock_timestamp() - $4::float8 * interval '1 hour') returning task_id";
    let payload = payload("note", json!({ "label": label }));
    client.query_one(sql, &[&task_type, &payload, &priority, &hours]).unwrap().get(0)
}

/// Enqueues so many `note` tasks with one command. `priority` and `hours` are expressions of their number `n`.
#[track_caller]
fn notes(client: &mut Client, task_type: &str, label: &str, count: i64, priority: &str, hours: &str) {
    let sql = format!(
        "insert into queues.task (task_type, payload, priority, scheduled_at)
         select '{task_type}', jsonb_build_object('db_function', 'public.note', 'label', '{label} ' || n), {priority},
             now() - {hours} * interval '1 hour'
         from generate_series(1, {count}) n"
    );
    client.batch_execute(&sql).unwrap();
}

/// Has the only worker run a task until the gate is opened.
#[track_caller]
fn hold(cluster: &Cluster, client: &mut Client, label: &str) -> Gate {
    let gate = Gate::close(cluster, "postgres", 1);
    let payload = payload("gate", json!({ "gate": 1, "label": label }));
    let sql = "insert into queues.task (task_type, payload, priority) values ('db_function', $1, 32767)";
    client.execute(sql, &[&payload]).unwrap();
    wait_until_sql(client, "select count(*) from queues.worker where handler = 'public.gate'", "1");
    gate
}

#[track_caller]
fn wait_all(client: &mut Client) {
    wait_until_sql(client, "select count(*) from queues.task where finished_at is null", "0");
}

/// Opens the gate, behind which all other tasks wait, and checks the order in which they start.
#[track_caller]
fn assert_order(client: &mut Client, gate: Gate) {
    let expected = format!("{EXPECTED} where t.finished_at is null and t.payload ->> 'gate' is null");
    let expected: Vec<String> = one(client, &expected);
    let before = done(client).len() + 1;
    gate.open();
    wait_all(client);
    assert_eq!(done(client)[before..], expected);
}

#[test]
fn an_old_task_starts_before_a_backlog_of_a_higher_priority() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    define(&mut client, "aged", Some("1 hour"));
    let gate = hold(&cluster, &mut client, "gate");
    notes(&mut client, "aged", "backlog", MANY, "5", "0");
    note(&mut client, "aged", "old", 0, 6.5);
    note(&mut client, "aged", "not as old", 0, 4.5);
    notes(&mut client, "aged", "more", MANY, "5", "0");
    gate.open();
    wait_all(&mut client);
    let done = done(&mut client);
    assert_eq!(done[..3], ["gate", "old", "backlog 1"]);
    assert_eq!(done.last().unwrap(), "not as old");
}

#[test]
fn tasks_of_a_type_start_in_the_order_of_their_effective_priority() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    define(&mut client, "aged", Some("1 hour"));
    let gate = hold(&cluster, &mut client, "gate");
    notes(&mut client, "aged", "mixed", MANY, "n % 9 - 4", "(n * 37 % 100) / 7.0");
    for n in 0..25 {
        note(
            &mut client,
            "aged",
            &format!("single {n}"),
            (n * 7 % 11 - 5) as i16,
            f64::from(n * 13 % 17) / 2.0,
        );
    }
    notes(&mut client, "aged", "plain", 30, "null", "(n * 37 % 100) / 9.0");
    notes(&mut client, "aged", "few", 5, "n - 3", "n / 3.0");
    note(&mut client, "aged", "highest", i16::MAX, 0.0);
    note(&mut client, "aged", "lowest", i16::MIN, 100.0);
    assert_order(&mut client, gate);
}

#[test]
fn types_with_and_without_ageing_have_one_order() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    define(&mut client, "aged", Some("1 hour"));
    define(&mut client, "fast", Some("7 minutes"));
    let gate = hold(&cluster, &mut client, "gate");
    for task_type in ["aged", "fast", "db_function"] {
        notes(&mut client, task_type, task_type, 60, "n % 7 - 3", "(n * 37 % 100) / 13.0");
        notes(&mut client, task_type, &format!("plain {task_type}"), 20, "null", "(n * 37 % 100) / 17.0");
    }
    assert_order(&mut client, gate);
}

#[test]
fn a_task_ages_while_others_run() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    define(&mut client, "aged", Some("20 ms"));
    let gate = hold(&cluster, &mut client, "gate");
    for task_type in ["aged", "db_function"] {
        notes(&mut client, task_type, &format!("stream of {task_type}"), 3_000, "3", "0");
    }
    note(&mut client, "aged", "low", -2, 0.0);
    note(&mut client, "aged", "plain", 0, 0.0);
    gate.open();
    wait_all(&mut client);
    let done = done(&mut client);
    let place = |label: &str| done.iter().position(|other| other == label).unwrap();
    // The tasks of its own type were enqueued at the same time, and gain as it does.
    let last = place("stream of db_function 3000");
    assert!(
        place("plain") < last && place("stream of aged 3000") < last,
        "{} of {}",
        place("plain"),
        done.len()
    );
}

#[test]
fn a_change_of_the_interval_takes_effect_while_tasks_wait() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    define(&mut client, "aged", None);
    for (round, interval) in
        ["'1 hour'", "'10 minutes'", "'3 days'", "null", "'1 hour'"].into_iter().enumerate()
    {
        let gate = hold(&cluster, &mut client, "gate");
        notes(&mut client, "aged", &format!("{round}"), 40, "n % 9 - 4", "(n * 37 % 100) / 7.0");
        // The first of them are known when the interval changes.
        gate.open();
        wait_until_sql(&mut client, "select count(*) > 3 from public.done", "t");
        let gate = hold(&cluster, &mut client, "held");
        notes(&mut client, "aged", &format!("again {round}"), 60, "n % 9 - 4", "(n * 37 % 100) / 7.0");
        let sql = format!(
            "update queues.task_definition set priority_ages_every = {interval} where task_type = 'aged'"
        );
        client.batch_execute(&sql).unwrap();
        assert_order(&mut client, gate);
    }
}

#[test]
fn an_aged_task_that_falls_due_starts_in_its_order() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    define(&mut client, "aged", Some("1 hour"));
    note(&mut client, "aged", "before", 5, 0.0);
    wait_all(&mut client);
    let gate = hold(&cluster, &mut client, "gate");
    notes(&mut client, "aged", "low", MANY, "1 + n % 3", "0.5");
    let sql = "insert into queues.task (task_type, payload, priority, scheduled_at)
               values ('aged', $1, 9, clock_timestamp() + interval '300 ms')
               returning scheduled_at::text";
    let due = payload("note", json!({ "label": "due" }));
    let due: String = client.query_one(sql, &[&due]).unwrap().get(0);
    wait_until_sql(&mut client, &format!("select clock_timestamp() > '{due}'"), "t");
    gate.open();
    wait_all(&mut client);
    assert_eq!(done(&mut client)[..3], ["before", "gate", "due"]);
    // Without a backlog, too.
    client.execute(&sql.replace("9, ", "-9, "), &[&payload("note", json!({ "label": "late" }))]).unwrap();
    wait_all(&mut client);
    assert_eq!(done(&mut client).last().unwrap(), "late");
}

#[test]
fn a_task_whose_row_is_locked_delays_no_other() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    define(&mut client, "aged", Some("1 hour"));
    let gate = hold(&cluster, &mut client, "gate");
    let locked = note(&mut client, "aged", "locked", 1, 9.0);
    notes(&mut client, "aged", "others", 40, "n % 3 - 1", "1");
    let mut locker = cluster.connect("postgres");
    let mut lock = locker.transaction().unwrap();
    lock.execute("select from queues.task where task_id = $1 for update", &[&locked]).unwrap();
    gate.open();
    wait_until_sql(&mut client, "select count(*) from queues.task where finished_at is null", "1");
    lock.rollback().unwrap();
    // Any change of the row announces it.
    client.execute("update queues.task set priority = 2 where task_id = $1", &[&locked]).unwrap();
    wait_all(&mut client);
}

#[test]
fn workers_outside_get_the_same_order() {
    let cluster = Cluster::start(&[SETTINGS[0], NOTHING_RUNS_INSIDE]);
    let mut client = install(&cluster, "postgres");
    define(&mut client, "aged", Some("1 hour"));
    define(&mut client, "fast", Some("7 minutes"));
    for task_type in ["aged", "fast", "db_function"] {
        notes(&mut client, task_type, task_type, 12, "n % 7 - 3", "(n * 37 % 100) / 13.0");
        notes(&mut client, task_type, &format!("plain {task_type}"), 4, "null", "(n * 37 % 100) / 17.0");
    }
    note(&mut client, "aged", "highest", i16::MAX, 0.0);
    note(&mut client, "fast", "future", 9, -1.0);
    let expected: Vec<String> = one(&mut client, &format!("{EXPECTED} where t.scheduled_at <= now()"));
    let first: i64 = one(
        &mut client,
        &format!("select task_id from queues.task where payload ->> 'label' = '{}'", expected[0]),
    );
    let mut locker = cluster.connect("postgres");
    let mut lock = locker.transaction().unwrap();
    lock.execute("select from queues.task where task_id = $1 for update", &[&first]).unwrap();
    let dequeue =
        "select payload ->> 'label' from queues.dequeue_next_available_task('{aged,fast,db_function}')";
    assert_eq!(one::<String>(&mut client, dequeue), expected[1]);
    lock.rollback().unwrap();
    let rest: Vec<String> = std::iter::from_fn(|| one(&mut client, dequeue)).collect();
    assert_eq!(rest, [&expected[..1], &expected[2..]].concat());
    note(&mut client, "aged", "earliest", 0, 0.0);
    client
        .execute(
            "update queues.task set scheduled_at = '-infinity' where finished_at is null and not leased",
            &[],
        )
        .unwrap();
    assert_eq!(one::<String>(&mut client, dequeue), "future");
    assert_eq!(one::<String>(&mut client, dequeue), "earliest");
    assert_eq!(one::<Option<String>>(&mut client, dequeue), None);
}

#[test]
fn explanations_count_the_tasks_of_a_higher_effective_priority() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    define(&mut client, "aged", Some("1 hour"));
    define(&mut client, "fast", Some("7 minutes"));
    let gate = hold(&cluster, &mut client, "gate");
    for task_type in ["aged", "fast", "db_function"] {
        notes(&mut client, task_type, task_type, 10, "n % 5 - 2", "(n * 37 % 100) / 13.0");
        notes(&mut client, task_type, &format!("plain {task_type}"), 5, "null", "(n * 37 % 100) / 17.0");
    }
    let told = "select array_agg(label order by place) from (
            select t.payload ->> 'label',
                case when x.reason = 'workers_busy' then 0
                else substring(x.explanation from '([0-9]+) ready tasks? comes? first')::int end
            from queues.task t
            cross join lateral queues.explain(t.task_id) x
            where t.finished_at is null and t.payload ->> 'gate' is null
        ) e (label, place)
        having bool_and(place is not null) and count(distinct place) = count(*)";
    let expected: Vec<String> =
        one(&mut client, &format!("{EXPECTED} where t.finished_at is null and t.payload ->> 'gate' is null"));
    assert_eq!(one::<Vec<String>>(&mut client, told), expected);
    assert_order(&mut client, gate);
}

#[test]
fn an_interval_that_is_not_valid_is_refused() {
    let cluster = Cluster::start(&[NOTHING_RUNS_INSIDE]);
    let mut client = install(&cluster, "postgres");
    define(&mut client, "aged", None);
    for interval in ["0", "-1 hour", "1 month -31 days", "367 days", "100000 years"] {
        let sql = "update queues.task_definition set priority_ages_every = $1::text::interval where task_type = 'aged'";
        let error = client.execute(sql, &[&interval]).unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code(), &SqlState::INVALID_PARAMETER_VALUE, "{interval}");
        assert_eq!(
            error.message(),
            "task type \"aged\": priority_ages_every has to be above 0, and at most 366 days"
        );
        assert_eq!(error.hint(), Some("Use null for a priority that does not rise."));
    }
    for interval in ["1 microsecond", "366 days"] {
        let sql = "update queues.task_definition set priority_ages_every = $1::text::interval where task_type = 'aged'";
        assert_eq!(client.execute(sql, &[&interval]).unwrap(), 1);
    }
}

#[test]
fn types_without_a_lane_of_their_own_keep_the_order_of_priorities_and_are_told() {
    let cluster = Cluster::start(&SETTINGS);
    let mut client = install(&cluster, "postgres");
    let names: Vec<String> = (10..30).map(|n| format!("aged{n}")).collect();
    names.iter().for_each(|name| define(&mut client, name, Some("1 hour")));
    let gate = hold(&cluster, &mut client, "gate");
    // Fifteen types have lanes.
    note(&mut client, "aged25", "low", 1, 9.0);
    note(&mut client, "aged26", "high", 2, 0.0);
    for name in &names {
        enqueue(&mut client, name, payload("note", json!({ "label": "any" })));
    }
    gate.open();
    wait_all(&mut client);
    let labels = done(&mut client);
    let place = |label: &str| labels.iter().position(|other| other == label).unwrap();
    assert!(place("high") < place("low"), "{labels:?}");
    let log = cluster.log();
    assert!(log.contains("the tasks of type \"aged25\" do not age"), "{log}");
    assert!(!log.contains("the tasks of type \"aged24\" do not age"), "{log}");
    run_one(&mut client, "after");
}
