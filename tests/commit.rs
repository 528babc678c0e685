//! Errors at the commit, and deadlocks: attempts are bounded and counted.

use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one, task, worker_pids};
use crate::harness::mailing::{Mailing, mail, task as mail_task};
use crate::harness::probe::Probe;
use crate::harness::queue::{errors, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

/// A deferred trigger of the user's own on the queue, which fires at the commit. It refuses the ends of tasks whose
/// payload says so, with the SQLSTATE that it names, as often as it says.
const TRIGGER: &str = "
    create sequence public.refusals;
    create function public.refuse_end() returns trigger language plpgsql security definer as $$
    begin
        if nextval('public.refusals') <= (new.payload ->> 'refusals')::bigint then
            raise exception 'refused at the commit' using errcode = new.payload ->> 'errcode';
        end if;
        return null;
    end $$;
    create constraint trigger refuse_end after update on queues.task deferrable initially deferred
        for each row when (new.payload ? 'errcode' and new.final_status = 'succeeded')
        execute function public.refuse_end();";

#[test]
fn transient_errors_of_the_commit_are_repeated_a_bounded_number_of_times() {
    let mut probe = Probe::start(&[]);
    probe.create(TRIGGER);
    let payload = |refusals: u32, errcode: &str| {
        json!({"db_function": "public.note", "label": "once", "error_handler": "public.on_error",
            "refusals": refusals, "errcode": errcode})
    };
    for errcode in ["40001", "40P01"] {
        probe.create("truncate public.done; alter sequence public.refusals restart");
        let fate = probe.run(payload(2, errcode));
        assert_eq!((fate.status.as_str(), fate.attempts, fate.errors.len()), ("succeeded", 3, 0), "{fate:?}");
        assert_eq!(one::<i64>(&mut probe.client, "select count(*) from public.done"), 1);

        probe.create("truncate public.done; alter sequence public.refusals restart");
        let fate = probe.run(payload(1_000_000, errcode));
        assert_eq!((fate.refusal().as_str(), fate.attempts), (errcode, 10), "{fate:?}");
        assert!(fate.errors[0].message.contains("refused at the commit"), "{fate:?}");
        assert_eq!(one::<i64>(&mut probe.client, "select count(*) from public.done"), 0);
    }
    assert_eq!(one::<i64>(&mut probe.client, "select count(*) from public.told where what = 'error'"), 2);
    probe.assert_well();
}

#[test]
fn an_error_of_the_commit_after_a_call_asks_the_provider_no_second_time() {
    let mut mailing = Mailing::start(&[("pg_errand.concurrency", "1")]);
    mailing.client.batch_execute(TRIGGER).unwrap();
    for (errcode, refusals, handled) in [("P7780", 1, 0), ("40001", 2, 1), ("40001", 1_000_000, 0)] {
        mailing.standin.clear();
        mailing.client.batch_execute("truncate app.seen; alter sequence public.refusals restart").unwrap();
        let mut payload = mail_task(&mail("someone@mail.test"));
        payload["errcode"] = json!(errcode);
        payload["refusals"] = json!(refusals);
        let sql = "insert into queues.task (task_type, payload) values ('email', $1) returning task_id";
        let task_id: i64 = mailing.client.query_one(sql, &[&payload]).unwrap().get(0);
        if refusals > 10 {
            // Its end as succeeded is refused for good: others go on, and it ends as soon as it can.
            mailing.run_function("app.note");
            wait_until_sql(&mut mailing.client, "select last_value > 12 from public.refusals", "t");
            mailing.run_function("app.note");
            mailing.client.batch_execute("alter table queues.task disable trigger refuse_end").unwrap();
        }
        mailing.wait(task_id, "succeeded");
        assert_eq!(mailing.standin.requests().len(), 1, "{errcode} {refusals}");
        assert!(mailing.seen("success").len() <= 1);
        if refusals <= 10 {
            assert_eq!(mailing.seen("success").len(), handled, "{errcode} {refusals}");
            assert_eq!(errors(&mut mailing.client, task_id).len(), 1 - handled, "{errcode} {refusals}");
        }
    }
}

#[test]
fn tasks_that_lock_in_opposite_orders_all_succeed() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "3"), ("deadlock_timeout", "20ms")]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create table public.account (id int primary key, balance int not null);
             insert into public.account select n, 0 from generate_series(1, 3) n;
             grant select, update on public.account to public;
             create function public.move(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 update public.account set balance = balance - 1 where id = (payload ->> 'from')::int;
                 perform pg_sleep(0.01);
                 update public.account set balance = balance + 1 where id = (payload ->> 'to')::int;
                 return '{}';
             end $$",
        )
        .unwrap();
    let ids: Vec<i64> = (0..60)
        .map(|n| task(&mut client, "move", json!({"from": n % 3 + 1, "to": (n + 1 + n / 3 % 2) % 3 + 1})))
        .collect();
    for id in ids {
        wait_status(&mut client, id, "succeeded");
    }
    // There were some.
    let deadlocks =
        "select count(*) filter (where attempts > 1) > 0 and max(attempts) <= 10 from queues.task";
    assert!(one::<bool>(&mut client, deadlocks));
    assert_eq!(one::<i64>(&mut client, "select sum(balance) from public.account"), 0);
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.error"), 0);
}

#[test]
fn a_statement_timeout_of_the_database_ends_no_task_and_handler_timeout_counts_beside_it() {
    let mut probe = Probe::start(&[("pg_errand.handler_timeout", "250ms")]);
    probe.create("alter database postgres set statement_timeout = '30ms'");
    // The next worker connects with it.
    probe.create(&format!("select pg_terminate_backend({})", probe.pid));
    let pid = probe.pid;
    eventually("it is gone", || !worker_pids(&mut probe.client).contains(&pid));
    let fate = probe.run_sql("select pg_sleep(0.1)");
    assert_eq!((fate.status.as_str(), fate.errors.len()), ("succeeded", 0), "{fate:?}");
    let fate = probe.run_sql("set statement_timeout = '10ms'; select pg_sleep(60)");
    assert_eq!(fate.refusal(), "57014");
    assert!(fate.errors[0].message.contains("pg_errand.handler_timeout (250 ms)"), "{fate:?}");
}
