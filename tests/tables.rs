//! Users may change the queue's tables: rows are changed as a statement would change them.

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{done, install, one, run_one, task, worker_pids};
use crate::harness::mailing::Mailing;
use crate::harness::queue::{self, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

/// The same worker throughout.
const STAY: [(&str, &str); 2] = [("pg_errand.concurrency", "1"), ("pg_errand.max_idle_time", "0")];

/// `audit` notes the tasks whose rows were changed.
const AUDIT: &str = "
    create extension amcheck;
    create table public.audited (task_id bigint);
    create function public.audit() returns trigger language plpgsql security definer as $$
    begin
        insert into public.audited
        select t.task_id from queues.task t where t.finished_at is not null or t.task_id = new.task_id;
        return new;
    end $$;
    create function public.audit_all() returns trigger language plpgsql security definer as $$
    begin
        insert into public.audited select t.task_id from queues.task t where t.finished_at is not null;
        return null;
    end $$;";

/// A change of a table, and what makes it ours again; statements of their own, since some may be in no transaction.
struct Change {
    apply: &'static [&'static str],
    undo: &'static [&'static str],
    /// True if each task that ends is to be noted by it.
    audits: bool,
}

const fn index(apply: &'static [&'static str], undo: &'static [&'static str]) -> Change {
    Change { apply, undo, audits: false }
}

const fn trigger(apply: &'static [&'static str], undo: &'static [&'static str]) -> Change {
    Change { apply, undo, audits: true }
}

const NO_DEFERRED: &str = "drop index queues.task_deferred";
const DEFERRED: &str = "create index task_deferred on queues.task (not_before) where finished_at is null and not_before is not null";
const NO_READY: &str = "drop index queues.task_ready";
const READY: &str = "create index task_ready on queues.task (origin, scheduled_at, task_id) where finished_at is null and not calling and priority is null and queue_key is null";
const NO_INDEX: &str = "drop index if exists queues.mine";
const NO_DELETE: &str = "drop trigger task_after_delete on queues.task";
const DELETE: &str =
    "create trigger task_after_delete after delete on queues.task referencing old table as gone
    for each statement execute function errand.task_after_delete()";
const NO_UPDATE: &str = "drop trigger task_before_update on queues.task";
const UPDATE: &str =
    "create trigger task_before_update before update of task_type, scheduled_at on queues.task
    for each row execute function errand.task_before_write()";
const ALWAYS: &str = "alter table queues.task enable always trigger task_before_update";
const NO_TRIGGER: &str = "drop trigger mine on queues.task";

const CHANGES: &[Change] = &[
    index(&[NO_DEFERRED, "create index mine on queues.task (finished_at)"], &[NO_INDEX, DEFERRED]),
    index(&[NO_DEFERRED, "create index task_deferred on queues.task (not_before)"], &[NO_DEFERRED, DEFERRED]),
    index(
        &[
            NO_DEFERRED,
            "create index task_deferred on queues.task (final_status) where finished_at is not null",
        ],
        &[NO_DEFERRED, DEFERRED],
    ),
    index(
        &[NO_READY, "create index task_ready on queues.task (origin, scheduled_at, task_id)"],
        &[NO_READY, READY],
    ),
    index(
        &[NO_READY, "create index task_ready on queues.task (calling) where not calling"],
        &[NO_READY, READY],
    ),
    index(
        &[NO_DEFERRED, "create index mine on queues.task (lower(final_status), attempts)"],
        &[NO_INDEX, DEFERRED],
    ),
    index(
        &[NO_DEFERRED, "create unique index mine on queues.task (finished_at, task_id)"],
        &[NO_INDEX, DEFERRED],
    ),
    index(&[NO_DEFERRED, "create unique index mine on queues.task (task_id)"], &[NO_INDEX, DEFERRED]),
    index(
        &[NO_DEFERRED, "create index mine on queues.task (task_id) include (final_status)"],
        &[NO_INDEX, DEFERRED],
    ),
    index(
        &[
            "drop index concurrently queues.task_deferred",
            "create index concurrently mine on queues.task (dequeued_at)",
        ],
        &["drop index concurrently queues.mine", DEFERRED],
    ),
    index(
        &[NO_DEFERRED, "alter table queues.task add constraint mine exclude using btree (task_id with =)"],
        &["alter table queues.task drop constraint mine", DEFERRED],
    ),
    index(
        &[
            NO_DEFERRED,
            "alter table queues.task drop constraint task_pkey",
            "alter table queues.task add constraint task_pkey primary key (task_id) include (final_status)",
            "create index mine on queues.task (outcome)",
        ],
        &[
            "alter table queues.task drop constraint task_pkey",
            "alter table queues.task add primary key (task_id)",
            NO_INDEX,
            DEFERRED,
        ],
    ),
    index(
        &[
            "alter table queues.task drop constraint task_pkey",
            "alter table queues.task add constraint task_pkey primary key (task_id) deferrable",
        ],
        &[
            "alter table queues.task drop constraint task_pkey",
            "alter table queues.task add primary key (task_id)",
        ],
    ),
    index(
        &[
            NO_DEFERRED,
            "create index mine on queues.task (outcome) where finished_at is null",
            "create index other on queues.task (task_id) where finished_at is null and not calling",
        ],
        &[NO_INDEX, "drop index queues.other", DEFERRED],
    ),
    index(&["reindex table concurrently queues.task", "reindex table concurrently queues.call"], &[]),
    index(
        &["vacuum full queues.task", "alter index queues.task_ready set (fillfactor = 50)"],
        &["alter index queues.task_ready reset (fillfactor)"],
    ),
    index(
        &["alter table queues.task add column mine int default 7"],
        &["alter table queues.task drop column mine"],
    ),
    index(
        &[
            "alter table queues.task add column mine text generated always as (final_status || '!') stored",
            "create index mine on queues.task (mine)",
        ],
        &["alter table queues.task drop column mine"],
    ),
    index(
        &["alter table queues.task alter attempts drop not null, add column mine int not null default 1"],
        &["alter table queues.task alter attempts set not null, drop column mine"],
    ),
    trigger(
        &[
            NO_DELETE,
            "create trigger mine after update on queues.task for each row execute function public.audit()",
        ],
        &[NO_TRIGGER, DELETE],
    ),
    trigger(
        &[
            NO_DELETE,
            "create trigger task_after_delete before update on queues.task for each row execute function public.audit()",
        ],
        &[NO_DELETE, DELETE],
    ),
    trigger(
        &[
            NO_UPDATE,
            "create trigger task_before_update before update on queues.task for each row execute function public.audit()",
        ],
        &[NO_UPDATE, UPDATE, ALWAYS],
    ),
    trigger(
        &[
            NO_DELETE,
            "create trigger mine after update of final_status on queues.task for each row
            when (new.final_status is not null) execute function public.audit()",
        ],
        &[NO_TRIGGER, DELETE],
    ),
    trigger(
        &[NO_DELETE, "create trigger mine after update on queues.task execute function public.audit_all()"],
        &[NO_TRIGGER, DELETE],
    ),
    trigger(
        &[
            NO_DELETE,
            "create constraint trigger mine after update on queues.task deferrable initially deferred
            for each row execute function public.audit()",
        ],
        &[NO_TRIGGER, DELETE],
    ),
    trigger(
        &[
            "alter table queues.task disable trigger task_after_delete",
            "create trigger mine after update on queues.task for each row execute function public.audit()",
            "alter table queues.task enable always trigger mine",
        ],
        &[NO_TRIGGER, "alter table queues.task enable trigger task_after_delete"],
    ),
    trigger(
        &[
            "create rule mine as on update to queues.task do also insert into public.audited values (new.task_id)",
        ],
        &["drop rule mine on queues.task"],
    ),
];

#[track_caller]
fn run(client: &mut Client, statements: &[&str]) {
    for sql in statements {
        client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

/// Every index of the queue has an entry for each row, and those of a unique index are unique.
#[track_caller]
fn assert_indexes_are_whole(client: &mut Client, what: &str) {
    let sql = "select bt_index_check(i.indexrelid, true), i.indexrelid::regclass::text
        from pg_index i
        join pg_class c on c.oid = i.indexrelid
        where i.indrelid in ('queues.task'::regclass, 'queues.call'::regclass, 'queues.error'::regclass)
            and i.indisvalid and c.relam = 403";
    client.query(sql, &[]).unwrap_or_else(|error| panic!("{what}: {error:?}"));
}

fn prepare(client: &mut Client) {
    client.batch_execute(AUDIT).unwrap();
}

#[test]
fn an_index_in_the_place_of_ours_has_an_entry_for_each_task() {
    let cluster = Cluster::start(&STAY);
    let mut client = install(&cluster, "postgres");
    prepare(&mut client);
    run_one(&mut client, "before");
    run(&mut client, &["drop index queues.task_deferred", "create index mine on queues.task (finished_at)"]);
    for n in 0..5 {
        run_one(&mut client, &n.to_string());
    }
    assert_indexes_are_whole(&mut client, "finished_at");
    client.batch_execute("set enable_seqscan = off").unwrap();
    let found = "select count(*) from queues.task where finished_at > '-infinity'";
    assert_eq!(one::<i64>(&mut client, found), 6);
}

#[test]
fn whatever_is_changed_of_a_table_a_worker_that_lives_does_what_a_statement_would() {
    let cluster = Cluster::start(&STAY);
    let mut client = install(&cluster, "postgres");
    prepare(&mut client);
    run_one(&mut client, "before");
    for Change { apply, undo, audits } in CHANGES {
        let what = apply.join("; ");
        run(&mut client, apply);
        client.batch_execute("truncate public.audited").unwrap();
        for n in 0..3 {
            let id = run_one(&mut client, &n.to_string());
            let noted: bool = client
                .query_one("select exists (select from public.audited where task_id = $1)", &[&id])
                .unwrap()
                .get(0);
            assert!(noted || !audits, "task {id}: {what}");
        }
        assert_indexes_are_whole(&mut client, &what);
        run(&mut client, undo);
        run_one(&mut client, "after");
        assert_indexes_are_whole(&mut client, &what);
    }
    assert_eq!(worker_pids(&mut client).len(), 1);
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.error"), 0);
}

/// Runs so many tasks; true if they were looked for by their key again and again, as statements do.
#[track_caller]
fn uses_statements(client: &mut Client, tasks: i64) -> bool {
    let sql = "select n_tup_upd, (select idx_scan from pg_stat_user_indexes where indexrelname = 'task_pkey')
        from pg_stat_user_tables where relname = 'task' and schemaname = 'queues'";
    let now = |client: &mut Client| {
        let row = client.query_one(sql, &[]).unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    // What was done before is in the statistics by then.
    let ended: i64 = one(client, "select count(*) from queues.task where finished_at is not null");
    let before = eventually("the statistics are complete", || {
        let seen = now(client);
        if seen.0 >= ended { Ok(seen) } else { Err(seen) }
    });
    for n in 0..tasks {
        task(client, "note", json!({"label": n.to_string()}));
    }
    wait_until_sql(client, "select count(*) from queues.task where finished_at is null", "0");
    let after = eventually("the tasks are in the statistics", || {
        let seen = now(client);
        if seen.0 >= before.0 + tasks { Ok(seen) } else { Err(seen) }
    });
    after.1 - before.1 >= 2 * tasks
}

#[test]
fn statements_are_used_only_as_long_as_a_table_is_changed() {
    let cluster = Cluster::start(&STAY);
    let mut client = install(&cluster, "postgres");
    assert!(!uses_statements(&mut client, 20));
    run(&mut client, &[NO_DEFERRED, "create index mine on queues.task (finished_at)"]);
    assert!(uses_statements(&mut client, 20));
    run(&mut client, &[NO_INDEX, DEFERRED]);
    assert!(!uses_statements(&mut client, 20));
    let of_no_concern = "create trigger mine after delete on queues.task
        execute function pg_catalog.suppress_redundant_updates_trigger()";
    run(&mut client, &[of_no_concern]);
    assert!(!uses_statements(&mut client, 20));
}

#[test]
fn a_unique_index_of_the_users_own_lets_no_duplicate_in() {
    let cluster = Cluster::start(&STAY);
    let mut client = install(&cluster, "postgres");
    prepare(&mut client);
    run(
        &mut client,
        &["drop index queues.task_deferred", "create unique index mine on queues.task (final_status)"],
    );
    run_one(&mut client, "first");
    let second = task(&mut client, "note", json!({"label": "second"}));
    wait_status(&mut client, second, "failed");
    assert_eq!(done(&mut client), ["first"]);
    let sqlstate = "select sqlstate from queues.error";
    assert_eq!(one::<String>(&mut client, sqlstate), "23505");
    assert_indexes_are_whole(&mut client, "unique");
}

#[test]
fn not_null_and_check_constraints_that_moved_between_columns_are_heeded() {
    let cluster = Cluster::start(&STAY);
    let mut client = install(&cluster, "postgres");
    run_one(&mut client, "before");
    for (apply, undo, sqlstate) in [
        (
            "alter table queues.task alter attempts drop not null, alter outcome set default '', alter outcome set not null",
            "alter table queues.task alter attempts set not null, alter outcome drop default, alter outcome drop not null",
            "23502",
        ),
        (
            "alter table queues.task add constraint mine check (attempts = 0) not valid",
            "alter table queues.task drop constraint mine",
            "23514",
        ),
    ] {
        client.batch_execute("update queues.task set outcome = ''; truncate public.done").unwrap();
        let mark = cluster.log_mark();
        client.batch_execute(apply).unwrap();
        let id = task(&mut client, "note", json!({"label": sqlstate}));
        cluster.wait_log(mark, sqlstate);
        assert_eq!(queue::status(&mut client, id), "ready");
        client.batch_execute(undo).unwrap();
        wait_status(&mut client, id, "succeeded");
        assert_eq!(done(&mut client), [sqlstate]);
    }
}

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

#[test]
fn no_entry_and_no_trigger_is_left_out_when_tables_change_under_busy_workers() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "2"), ("pg_errand.max_idle_time", "0")]);
    let mut client = install(&cluster, "postgres");
    prepare(&mut client);
    let mut dice = Dice(11);
    for round in 0..25 {
        let change = &CHANGES[dice.roll(CHANGES.len())];
        let what = format!("round {round}: {}", change.apply.join("; "));
        let enqueue = |client: &mut Client, label: &str| {
            let sql = "insert into queues.task (task_type, payload)
                select 'db_function', jsonb_build_object('db_function', 'public.note', 'label', $1 || n)
                from generate_series(1, 60) n";
            client.execute(sql, &[&label]).unwrap();
        };
        enqueue(&mut client, "before");
        run(&mut client, change.apply);
        client.batch_execute("truncate public.audited").unwrap();
        let mark: i64 = one(&mut client, "select coalesce(max(task_id), 0) from queues.task");
        enqueue(&mut client, "during");
        if change.audits {
            let noted = "select count(distinct task_id) from public.audited where task_id > ";
            wait_until_sql(&mut client, &format!("{noted}{mark}"), "60");
        }
        assert_indexes_are_whole(&mut client, &what);
        run(&mut client, change.undo);
        enqueue(&mut client, "after");
        assert_indexes_are_whole(&mut client, &what);
    }
    wait_until_sql(&mut client, "select count(*) from queues.task where finished_at is null", "0");
    assert_indexes_are_whole(&mut client, "at the end");
    let wrong = "select count(*) from queues.task where (final_status, attempts) <> ('succeeded', 1)";
    assert_eq!(one::<i64>(&mut client, wrong), 0);
    assert_eq!(one::<i64>(&mut client, "select count(*) from public.done"), 25 * 180);
}

#[test]
fn calls_are_in_each_index_and_noted_by_each_trigger_of_their_table() {
    const NO_OPEN: &str = "drop index queues.call_open";
    const OPEN: &str = "create index call_open on queues.call (owner) where request is not null";
    let mut mailing = Mailing::start(&STAY);
    prepare(&mut mailing.client);
    let noting = "create function public.note_call() returns trigger language plpgsql security definer as $$
        begin
            insert into public.audited values (new.task_id);
            return new;
        end $$";
    run(&mut mailing.client, &[noting]);
    mailing.deliver("before@mail.test");
    for Change { apply, undo, audits } in [
        index(&[NO_OPEN, "create index mine on queues.call (responded_at)"], &[NO_INDEX, OPEN]),
        index(&[NO_OPEN, "create index call_open on queues.call (owner)"], &[NO_OPEN, OPEN]),
        index(
            &[NO_OPEN, "create index mine on queues.call (owner, provider) where request is not null"],
            &[NO_INDEX, OPEN],
        ),
        index(
            &[NO_OPEN, "create index mine on queues.call (lower(provider)) where request is not null"],
            &[NO_INDEX, OPEN],
        ),
        index(
            &[NO_OPEN, "create unique index mine on queues.call (idempotency_key) where request is not null"],
            &[NO_INDEX, OPEN],
        ),
        // Columns that are null when the row is inserted.
        index(&["create unique index mine on queues.call (batch) where request is not null"], &[NO_INDEX]),
        index(&["create index mine on queues.call (response) where request is not null"], &[NO_INDEX]),
        index(
            &["create index mine on queues.call using hash (provider) where request is not null"],
            &[NO_INDEX],
        ),
        index(
            &[NO_OPEN, "create index concurrently mine on queues.call (provider)"],
            &["drop index concurrently queues.mine", OPEN],
        ),
        index(
            &["alter table queues.call add column mine int not null default 7"],
            &["alter table queues.call drop column mine"],
        ),
        trigger(
            &[
                "create trigger mine after insert on queues.call for each row execute function public.note_call()",
            ],
            &["drop trigger mine on queues.call"],
        ),
        trigger(
            &[
                "create trigger mine after update of request on queues.call for each row execute function public.note_call()",
            ],
            &["drop trigger mine on queues.call"],
        ),
        index(&["create table public.child () inherits (queues.call)"], &["drop table public.child"]),
        index(&["reindex table concurrently queues.call"], &[]),
    ] {
        let what = apply.join("; ");
        run(&mut mailing.client, apply);
        let ids = [mailing.deliver("a@mail.test"), mailing.deliver("b@mail.test")];
        assert_indexes_are_whole(&mut mailing.client, &what);
        let noted = "select count(distinct task_id) from public.audited where task_id = any ($1)";
        let noted: i64 = mailing.client.query_one(noted, &[&&ids[..]]).unwrap().get(0);
        assert!(noted == 2 || !audits, "{what}");
        run(&mut mailing.client, undo);
        mailing.deliver("after@mail.test");
        assert_indexes_are_whole(&mut mailing.client, &what);
    }
    assert_eq!(mailing.number("select count(*) from queues.call where request is not null"), 0);
}

#[test]
fn a_task_whose_call_waits_for_its_response_is_in_each_index() {
    let mut mailing = Mailing::start(&STAY);
    prepare(&mut mailing.client);
    mailing.deliver("before@mail.test");
    mailing.standin.hold();
    let id = mailing.send("held@mail.test");
    mailing.wait_held(1);
    assert_indexes_are_whole(&mut mailing.client, "during the call");
    mailing.standin.release();
    mailing.wait(id, "succeeded");
    assert_indexes_are_whole(&mut mailing.client, "after the call");
}

/// Handlers of the table's owner, in each of which the row of their own task gets another place or shape.
const REWRITES: [&str; 4] = [
    "cluster queues.task using task_pkey",
    "alter table queues.task add column z float8 default random()",
    "alter table queues.task add column a int, add column b text, add column c text, add column d text",
    "alter table queues.task set unlogged",
];

#[test]
fn a_handler_that_rewrites_the_table_ends_its_own_task_and_no_other() {
    let cluster = Cluster::start(&STAY);
    let mut client = install(&cluster, "postgres");
    client.batch_execute("create extension amcheck").unwrap();
    for (n, rewrite) in REWRITES.into_iter().enumerate() {
        client
            .batch_execute(&format!(
                "create function public.rewrite_{n}(payload jsonb) returns jsonb language plpgsql security definer as $$
                 begin {rewrite}; return public.note(payload); end $$"
            ))
            .unwrap();
        // Rows before it that are gone, so that the others move.
        for _ in 0..3 {
            run_one(&mut client, "before");
        }
        client.batch_execute("delete from queues.task where finished_at is not null").unwrap();
        let mut transaction = client.transaction().unwrap();
        let enqueue = "select queues.enqueue('db_function', jsonb_build_object('db_function', $1::text, 'label', $2::text))";
        let mut ids = Vec::new();
        for name in [format!("public.rewrite_{n}")].into_iter().chain((0..10).map(|_| "public.note".into())) {
            ids.push(transaction.query_one(enqueue, &[&name, &rewrite]).unwrap().get::<_, i64>(0));
        }
        transaction.commit().unwrap();
        for id in ids {
            wait_status(&mut client, id, "succeeded");
        }
        let count = "select count(*) - count(distinct task_id) from queues.task";
        assert_eq!(one::<i64>(&mut client, count), 0, "{rewrite}");
        let ran = client.query_one("select count(*) from public.done where label = $1", &[&rewrite]).unwrap();
        assert_eq!(ran.get::<_, i64>(0), 11, "{rewrite}");
        assert_indexes_are_whole(&mut client, rewrite);
    }
    assert!(!cluster.log().contains("terminated by signal"));
}

#[test]
fn rows_of_a_table_that_inherits_the_queue_are_no_tasks() {
    let cluster = Cluster::start(&STAY);
    let mut client = install(&cluster, "postgres");
    let first = run_one(&mut client, "first");
    client
        .batch_execute(
            "create table public.archive () inherits (queues.task);
             create table public.old_errors () inherits (queues.error);
             create table public.old_calls () inherits (queues.call);
             create table public.old_providers () inherits (queues.provider);
             create table public.old_definitions () inherits (queues.task_definition);
             insert into public.archive (task_id, task_type, payload, not_before)
             values (-7, 'db_function', '{\"db_function\": \"public.note\", \"label\": \"archived\"}', now());
             insert into public.archive (task_id, task_type, payload, finished_at, final_status)
             select task_id, task_type, payload, finished_at, final_status from only queues.task;
             insert into public.old_errors (error_id, task_id, error_message) select 1, task_id, 'archived' from only queues.task;
             insert into public.old_providers (name, interface) values ('old', 'pigeon');
             insert into public.old_definitions (task_type, processor) values ('old', 'db_function')",
        )
        .unwrap();
    let shown = "select count(*) from queues.task_status";
    assert_eq!(one::<i64>(&mut client, shown), 1);
    assert_eq!(queue::status(&mut client, first), "succeeded");
    let last_error: Option<String> = one(&mut client, "select last_error from queues.task_status");
    assert_eq!(last_error, None);
    assert_eq!(
        one::<Option<i64>>(&mut client, "select task_id from queues.dequeue_next_available_task()"),
        None
    );
    assert!(!one::<bool>(&mut client, "select queues.cancel(-7)"));
    assert_eq!(one::<i64>(&mut client, "select queues.adopt()"), 0);
    client.batch_execute("select queues.complete_task(-7), queues.fail_task(-7, 'x')").unwrap();
    let refused = client.batch_execute("select queues.enqueue('old', '{}')").unwrap_err();
    assert!(refused.as_db_error().unwrap().message().contains("unknown task type"), "{refused:?}");
    client.batch_execute("set session_replication_role = replica").unwrap();
    run_one(&mut client, "second");
    client.batch_execute("delete from only queues.task").unwrap();
    assert_eq!(done(&mut client), ["first", "second"]);
    let kept = "select format('%s %s', (select count(*) from public.archive where finished_at is null),
        (select count(*) from public.old_errors where task_id is not null))";
    assert_eq!(one::<String>(&mut client, kept), "1 1");
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.unadopted"), 0);
}
