//! A million tasks at once, and providers whose responses do not end: order is kept, and memory is bounded.

use postgres::Client;
use serde_json::json;
use standin::Behaviour;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one, task, worker_pids};
use crate::harness::mailing::{Mailing, mail, task as mail_task};
use crate::harness::memory;
use crate::harness::probe::MIB;
use crate::harness::queue::wait_status;
use crate::harness::wait::wait_until_sql;

#[test]
fn a_million_tasks_of_one_statement_hold_up_nobody_and_cost_workers_no_memory() {
    let cluster = Cluster::start(&[
        ("pg_errand.concurrency", "0"),
        ("pg_errand.max_idle_time", "0"),
        ("pg_errand.log_level", "warning"),
        // Nothing is to take the server's time by chance.
        ("autovacuum", "off"),
        ("max_wal_size", "8GB"),
    ]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "insert into queues.task (task_type, payload)
             select 'db_function', '{\"db_function\": \"public.note\"}' from generate_series(1, 1000000)",
        )
        .unwrap();
    cluster.set(&[("pg_errand.concurrency", "2")]);
    wait_done(&mut client, 1000);
    let pids = worker_pids(&mut client);
    let early: Vec<u64> = pids.iter().map(|pid| memory::own(*pid)).collect();

    // One that is due before all of them is the next; one that is due now comes after them.
    let last = task(&mut client, "note", json!({"label": "last"}));
    let urgent = "insert into queues.task (task_type, payload, scheduled_at)
        values ('db_function', '{\"db_function\": \"public.note\", \"label\": \"urgent\"}', now() - interval '1 day')
        returning task_id";
    let urgent: i64 = one(&mut client, urgent);
    wait_status(&mut client, urgent, "succeeded");
    let before_it = "select count(*) from public.done";
    assert!(one::<i64>(&mut client, before_it) < 900_000);
    assert_eq!(one::<String>(&mut client, "select label from public.done where label is not null"), "urgent");

    wait_done(&mut client, 12_000);
    let late: Vec<u64> = pids.iter().map(|pid| memory::own(*pid)).collect();
    for (early, late) in early.iter().zip(&late) {
        assert!(late < &(early + 4 * MIB) && late < &(40 * MIB), "{early} became {late}");
    }
    assert_eq!(worker_pids(&mut client), pids);
    // A pause counts at once, and what is left can go.
    cluster.set(&[("pg_errand.concurrency", "0")]);
    wait_until_sql(&mut client, "select count(*) from queues.worker", "0");
    client.batch_execute("truncate queues.task cascade").unwrap();
    cluster.set(&[("pg_errand.concurrency", "2")]);
    let after = task(&mut client, "note", json!({"label": "after"}));
    wait_status(&mut client, after, "succeeded");
    let labels = "select array_agg(label order by n) from public.done where label is not null";
    assert_eq!(one::<Vec<String>>(&mut client, labels), ["urgent", "after"], "{last} was not its turn");
}

#[track_caller]
fn wait_done(client: &mut Client, count: i64) {
    // Not by counting rows, which takes longer the more there are.
    wait_until_sql(client, &format!("select coalesce(max(n), 0) >= {count} from public.done"), "t");
}

#[test]
fn endless_answers_cost_a_worker_no_more_than_it_reads_of_them() {
    let mut mailing = Mailing::start(&[
        ("pg_errand.concurrency", "1"),
        ("pg_errand.max_idle_time", "0"),
        ("pg_errand.call_timeout", "20s"),
        ("shared_buffers", "16MB"),
        ("pg_errand.log_level", "error"),
    ]);
    mailing.deliver("someone@mail.test");
    let pid = mailing.worker_pid();
    let before = memory::own(pid);
    memory::forget_peak(pid);
    mailing.standin.behave(|submission| {
        let endless = submission.is_to("body@mail.test").then(Behaviour::endless_body);
        endless.or_else(|| submission.is_to("head@mail.test").then(Behaviour::endless_head))
    });
    for to in ["body@mail.test", "head@mail.test"] {
        let sql =
            "insert into queues.task (task_type, payload) select 'email', $1 from generate_series(1, 64)";
        mailing.client.execute(sql, &[&mail_task(&mail(to))]).unwrap();
    }
    // What the status says was done is a success, however long its body is.
    let ended = "select count(*) filter (where status = 'succeeded') || ',' || count(*) filter (where status = 'failed')
                 from queues.task_status where last_error is null or status = 'failed'";
    wait_until_sql(&mut mailing.client, ended, "65,64");
    // A mebibyte is read of each of 64 bodies at most, into memory that grows by doubling, in a thread each, for which the
    // system's allocator keeps what was freed.
    let peak = memory::peak(pid);
    assert!(peak < before + 64 * 8 * MIB, "{before} rose to {peak}");
    mailing.standin.behave_as_usual();
    mailing.deliver("someone@mail.test");
    assert_eq!(mailing.worker_pid(), pid);
}
