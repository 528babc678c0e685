//! What is stored is what a statement would store.

use postgres::Client;

use super::{CHECK_INDEXES, SETTINGS, enqueue, prepare, takes_statement, warm};
use crate::harness::handlers::one;

/// Enqueues a payload that an expression returns, and expects it in the table.
#[track_caller]
fn keeps(client: &mut Client, payload: &str) {
    let id: i64 = one(client, &format!("select queues.enqueue('db_function', ({payload}))"));
    let is_same = format!("select payload = ({payload}) from queues.task where task_id = {id}");
    assert!(one::<bool>(client, &is_same), "{payload}");
}

#[test]
fn large_payloads_are_stored_out_of_line() {
    let (cluster, mut admin) = prepare(&SETTINGS);
    admin
        .batch_execute(
            "create table public.large (payload jsonb);
             insert into public.large select jsonb_build_object('x', string_agg(md5(n::text), ''))
             from generate_series(1, 5000) n",
        )
        .unwrap();
    let mut client = warm(&cluster);
    // Stored out of line elsewhere, compressed, and neither.
    for payload in [
        "select payload from public.large",
        "select payload || '{\"y\": 1}' from public.large",
        "select jsonb_build_object('x', repeat('a', 100000))",
        "select '[1, null, \"x\"]'::jsonb",
        "select 'null'::jsonb",
    ] {
        keeps(&mut client, payload);
    }
    admin.batch_execute("drop table public.large").unwrap();
    let readable = "select count(*) from queues.task where length(payload::text) > 100000";
    assert_eq!(one::<i64>(&mut admin, readable), 3);
    assert!(!takes_statement(&mut client));
    admin.batch_execute(CHECK_INDEXES).unwrap();
}

#[test]
fn logical_decoding_sees_the_rows() {
    let settings = [&SETTINGS[..], &[("wal_level", "logical")]].concat();
    let (cluster, mut admin) = prepare(&settings);
    let mut client = warm(&cluster);
    admin.batch_execute("select pg_create_logical_replication_slot('mine', 'test_decoding')").unwrap();
    let id = enqueue(&mut client);
    assert!(!takes_statement(&mut client));
    let changes = format!(
        "select count(*) from pg_logical_slot_get_changes('mine', null, null)
         where data like 'table queues.task: INSERT: task_id[bigint]:{id} %calling[boolean]:false finished_at%null%'"
    );
    assert_eq!(one::<i64>(&mut admin, &changes), 1);
    admin.batch_execute("select pg_drop_replication_slot('mine')").unwrap();
}
