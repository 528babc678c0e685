//! What users add to the table is heeded, at once.

use postgres::Client;

use super::alterations::{COLUMNS, Change, ENTRIES, INDEXES, OTHERS, TRIGGERS};
use super::{CHECK_INDEXES, ENQUEUE, SETTINGS, enqueue, prepare, takes_statement, warm};
use crate::harness::cluster::Cluster;
use crate::harness::handlers::one;

/// Functions for triggers, and a table for what they have seen.
const FUNCTIONS: &str = "
    create table public.seen (task_id bigint);
    create function public.mark() returns trigger language plpgsql as
        'begin new.outcome := ''marked''; return new; end';
    create function public.note_row() returns trigger language plpgsql as
        'begin insert into public.seen values (new.task_id); return new; end';
    create function public.note_rows() returns trigger language plpgsql as
        'begin insert into public.seen select task_id from added; return null; end'";

/// Each change takes effect for the next task: of a session that has enqueued tasks, of a new one, and of the session that
/// makes it, until it is rolled back.
fn check(cluster: &Cluster, admin: &mut Client, changes: &[Change]) {
    let mut client = warm(cluster);
    admin.batch_execute(FUNCTIONS).unwrap();
    for (apply, expected, undo) in changes {
        assert!(!takes_statement(&mut client), "before: {apply}");
        let expect = |session: &mut Client, who: &str| {
            assert!(takes_statement(session), "{apply}: {who}");
            let id = enqueue(session);
            let sql = format!("select count(*) from queues.task t where task_id = {id} and ({expected})");
            // A constraint trigger fires when it is no longer deferred.
            session.batch_execute("set constraints all immediate").unwrap();
            assert_eq!(one::<i64>(session, &sql), 1, "{apply}: {who}");
        };
        client.batch_execute(&format!("begin; {apply}")).unwrap();
        expect(&mut client, "the session itself");
        client.batch_execute("rollback").unwrap();
        assert!(!takes_statement(&mut client), "rolled back: {apply}");
        admin.batch_execute(apply).unwrap();
        expect(&mut client, "a session");
        expect(&mut cluster.connect("postgres"), "a new session");
        admin.batch_execute(undo).unwrap();
    }
    assert!(!takes_statement(&mut client));
    admin.batch_execute(CHECK_INDEXES).unwrap();
}

#[test]
fn triggers_and_rules_are_applied() {
    let (cluster, mut admin) = prepare(&SETTINGS);
    check(&cluster, &mut admin, TRIGGERS);
}

#[test]
fn columns_get_their_defaults() {
    let (cluster, mut admin) = prepare(&SETTINGS);
    check(&cluster, &mut admin, COLUMNS);
    admin.batch_execute("alter table queues.task alter column outcome set not null").unwrap_err();
}

#[test]
fn indexes_get_entries_and_constraints_are_checked() {
    let (cluster, mut admin) = prepare(&SETTINGS);
    let mut client = warm(&cluster);
    check(&cluster, &mut admin, &[INDEXES, OTHERS].concat());
    for index in ENTRIES {
        admin.batch_execute(index).unwrap();
        assert!(!takes_statement(&mut client), "{index}");
        assert!(!takes_statement(&mut cluster.connect("postgres")), "{index}");
        admin.batch_execute(CHECK_INDEXES).unwrap();
        admin.batch_execute("drop index queues.mine").unwrap();
    }
    // Indexes that are rebuilt have other files or are others.
    for rebuild in
        ["reindex table queues.task", "reindex table concurrently queues.task", "vacuum full queues.task"]
    {
        admin.batch_execute(rebuild).unwrap();
        assert!(!takes_statement(&mut client), "{rebuild}");
        admin.batch_execute(CHECK_INDEXES).unwrap();
    }
    let ready = "set enable_seqscan = off; set enable_bitmapscan = off; set enable_sort = off";
    admin.batch_execute(ready).unwrap();
    let in_index = "select count(*) from queues.task
        where origin = errand.queue_origin() and finished_at is null and not calling and priority is null";
    let all: i64 = one(&mut client, "select count(*) from queues.task");
    assert_eq!(one::<i64>(&mut admin, in_index), all);
    admin.batch_execute("create table public.child () inherits (queues.task)").unwrap();
    assert!(takes_statement(&mut client));
}

#[test]
fn what_is_no_concern_of_a_plain_task_costs_no_statement() {
    let (cluster, mut admin) = prepare(&SETTINGS);
    let mut client = warm(&cluster);
    for (apply, undo) in [
        ("create index mine on queues.task (outcome) where outcome is not null", "drop index queues.mine"),
        (
            "create unique index mine on queues.task (task_type, lower(unique_key)) include (payload)
                 where finished_at is null and not leased and unique_key is not null",
            "drop index queues.mine",
        ),
        (
            "alter table queues.task add column mine integer; create index mine on queues.task (mine) where mine is not null",
            "alter table queues.task drop column mine",
        ),
        ("create publication mine for table queues.task", "drop publication mine"),
        ("create publication mine for table queues.task where (task_id > 7)", "drop publication mine"),
        (
            "alter table queues.task enable row level security",
            "alter table queues.task disable row level security",
        ),
        (
            "alter table queues.task rename column follows to mine",
            "alter table queues.task rename column mine to follows",
        ),
        (
            "create trigger mine before update on queues.task for each row execute function public.mark()",
            "drop trigger mine on queues.task",
        ),
        ("alter table queues.task replica identity full", "alter table queues.task replica identity default"),
        (
            "create trigger mine before delete on queues.task for each row execute function public.mark()",
            "drop trigger mine on queues.task",
        ),
        (
            "create trigger mine before insert on queues.task for each row execute function public.mark();
             alter table queues.task disable trigger mine",
            "drop trigger mine on queues.task",
        ),
    ] {
        admin.batch_execute("create or replace function public.mark() returns trigger language plpgsql as 'begin return new; end'").unwrap();
        admin.batch_execute(apply).unwrap();
        assert!(!takes_statement(&mut client), "{apply}");
        admin.batch_execute(CHECK_INDEXES).unwrap();
        admin.batch_execute(undo).unwrap();
    }
    client.batch_execute("set session_replication_role = replica").unwrap();
    assert!(!takes_statement(&mut client));
}

#[test]
fn changes_in_the_same_transaction_count_until_they_are_rolled_back() {
    let (cluster, mut admin) = prepare(&SETTINGS);
    admin.batch_execute(FUNCTIONS).unwrap();
    let mut client = warm(&cluster);
    let trigger =
        "create trigger mine before insert on queues.task for each row execute function public.mark()";
    let of = |id: i64| format!("select outcome from queues.task where task_id = {id}");
    client.batch_execute(&format!("begin; savepoint a; {trigger}")).unwrap();
    let marked = enqueue(&mut client);
    assert_eq!(one::<Option<String>>(&mut client, &of(marked)).as_deref(), Some("marked"));
    client.batch_execute("rollback to a").unwrap();
    let plain = enqueue(&mut client);
    assert_eq!(one::<Option<String>>(&mut client, &of(plain)), None);
    client.batch_execute("commit; begin; alter table queues.task add column mine integer default 7").unwrap();
    let with_column = enqueue(&mut client);
    assert_eq!(
        one::<i32>(&mut client, &format!("select mine from queues.task where task_id = {with_column}")),
        7
    );
    client.batch_execute("rollback; begin; truncate queues.task").unwrap();
    enqueue(&mut client);
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.task"), 1);
    client.batch_execute("rollback").unwrap();
    assert!(!takes_statement(&mut client));
    admin.batch_execute(CHECK_INDEXES).unwrap();
}

#[test]
fn a_table_that_is_moved_or_replaced_is_not_written() {
    let (cluster, mut admin) = prepare(&SETTINGS);
    let mut client = warm(&cluster);
    for (apply, undo) in [
        ("alter table queues.task set schema public", "alter table public.task set schema queues"),
        ("alter table queues.task rename to other", "alter table queues.other rename to task"),
        (
            "alter table queues.task rename column payload to other",
            "alter table queues.task rename column other to payload",
        ),
    ] {
        admin.batch_execute(apply).unwrap();
        for session in [&mut client, &mut cluster.connect("postgres")] {
            session.batch_execute(ENQUEUE).expect_err(apply);
        }
        admin.batch_execute(undo).unwrap();
        assert!(!takes_statement(&mut client), "{undo}");
    }
    let count = "select count(*) from queues.task";
    let before: i64 = one(&mut admin, count);
    let replace =
        "alter table queues.task rename to other; create table queues.task (like queues.other including all)";
    client.batch_execute(&format!("begin; {replace}")).unwrap();
    assert!(takes_statement(&mut client), "the table has no trigger");
    assert_eq!(one::<i64>(&mut client, count), 1);
    client.batch_execute("rollback").unwrap();
    enqueue(&mut client);
    assert_eq!(one::<i64>(&mut admin, count), before + 1);
}

#[test]
fn the_next_ids_are_those_of_the_sequence() {
    let (cluster, mut admin) = prepare(&SETTINGS);
    let mut client = warm(&cluster);
    admin.batch_execute("alter table queues.task alter column task_id restart with 1000000").unwrap();
    assert_eq!(enqueue(&mut client), 1_000_000);
    assert_eq!(one::<i64>(&mut client, "select lastval()"), 1_000_000);
    admin.batch_execute("alter table queues.task alter column task_id set generated always").unwrap();
    assert_eq!(enqueue(&mut client), 1_000_001);
    admin.batch_execute("alter table queues.task alter column task_id set increment by 10").unwrap();
    assert_eq!(enqueue(&mut client), 1_000_011);
    assert!(!takes_statement(&mut client));
}
