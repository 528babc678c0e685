//! An unavailable synchronous standby: what has to be replicated waits for it, and nothing else does.

use postgres::Client;
use serde_json::json;

use crate::harness::builder::Builder;
use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::mailing::Mailing;
use crate::harness::queue::{enqueue, errors, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

/// The name by which the primary waits for its standby.
const STANDBY: &str = "second";
const WAITING: &str = "select count(*) from pg_stat_activity
    where backend_type = 'pg_errand worker' and wait_event = 'SyncRep'";

/// One worker, and from now on a synchronous standby that nobody has started yet.
#[track_caller]
fn start() -> Mailing {
    let mut mailing = Mailing::start(&[("pg_errand.concurrency", "1"), ("pg_errand.call_timeout", "10min")]);
    mailing.run_function("app.note");
    mailing.cluster.set(&[("synchronous_standby_names", STANDBY)]);
    patient(&mut mailing);
    mailing
}

/// The test's own commits wait for nobody.
#[track_caller]
fn patient(mailing: &mut Mailing) {
    mailing.client = mailing.cluster.connect("postgres");
    mailing.client.batch_execute("set synchronous_commit = local").unwrap();
}

#[track_caller]
fn restart(mailing: &mut Mailing, mode: StopMode) {
    mailing.cluster.restart(mode);
    patient(mailing);
}

#[track_caller]
fn start_standby(primary: &Cluster) -> Cluster {
    Builder::standby_of(primary).set("cluster_name", STANDBY).start()
}

/// Waits until the standby has confirmed something to this primary.
#[track_caller]
fn wait_synchronous(client: &mut Client) {
    wait_until_sql(client, "select count(*) from pg_stat_replication where sync_state = 'sync'", "1");
}

#[test]
fn a_request_that_is_not_yet_durable_on_the_standby_is_not_sent_and_blocks_no_stop() {
    for mode in [StopMode::Fast, StopMode::Immediate] {
        let mut mailing = start();
        let task_id = mailing.send("someone@mail.test");
        wait_until_sql(&mut mailing.client, WAITING, "1");
        restart(&mut mailing, mode);
        // Whoever takes the call over waits as well.
        wait_until_sql(&mut mailing.client, WAITING, "1");
        assert!(mailing.standin.requests().is_empty(), "{mode:?}");
        // The worker that waits is ended: another one takes its place, and its wait.
        let end = "select pg_terminate_backend(pid) from queues.worker";
        let pid = mailing.worker_pid();
        mailing.client.execute(end, &[]).unwrap();
        eventually("another one waits", || {
            let sql = "select pid from pg_stat_activity where backend_type = 'pg_errand worker' and wait_event = 'SyncRep'";
            let other = mailing.client.query_opt(sql, &[]).unwrap().map(|row| row.get::<_, i32>(0));
            if other.is_some_and(|other| other != pid) { Ok(()) } else { Err(other) }
        });
        assert!(mailing.standin.requests().is_empty(), "{mode:?}");

        let _standby = start_standby(&mailing.cluster);
        mailing.wait(task_id, "succeeded");
        assert_eq!((mailing.standin.requests().len(), mailing.standin.mail_count()), (1, 1), "{mode:?}");
        assert_eq!(mailing.seen("success").len(), 1, "{mode:?}");
        assert!(errors(&mut mailing.client, task_id).is_empty());
    }
}

#[test]
fn an_answer_that_is_not_yet_durable_on_the_standby_waits_for_its_handler_and_blocks_no_stop() {
    for mode in [StopMode::Fast, StopMode::Immediate] {
        let mut mailing = start();
        let standby = start_standby(&mailing.cluster);
        wait_synchronous(&mut mailing.client);
        mailing.standin.hold();
        let task_id = mailing.send("someone@mail.test");
        mailing.wait_held(1);
        standby.stop(StopMode::Fast);
        mailing.standin.release();
        wait_until_sql(&mut mailing.client, WAITING, "1");
        assert!(mailing.seen("success").is_empty(), "{mode:?}");
        restart(&mut mailing, mode);
        wait_until_sql(&mut mailing.client, WAITING, "1");
        assert!(mailing.seen("success").is_empty(), "{mode:?}");
        standby.start_again();
        mailing.wait(task_id, "succeeded");
        // The answer was stored before the stop: nobody is asked again.
        assert_eq!((mailing.standin.requests().len(), mailing.standin.mail_count()), (1, 1), "{mode:?}");
        assert_eq!(mailing.seen("success").len(), 1, "{mode:?}");
    }
}

#[test]
fn tasks_without_a_call_wait_for_no_standby() {
    let mut mailing = start();
    for _ in 0..20 {
        mailing.run_function("app.note");
    }
    let failing = enqueue(&mut mailing.client, "db_function", json!({"db_function": "app.raises"}));
    wait_status(&mut mailing.client, failing, "failed");
    let sms =
        json!({"before_handler": "app.build", "mail": {"message_id": 1, "to_number": "1", "body": "b"}});
    let sms = enqueue(&mut mailing.client, "sms", sms);
    wait_until_sql(&mut mailing.client, WAITING, "1");
    // A second worker goes on with what needs no call, and is not held up by the one that waits.
    mailing.cluster.set(&[("pg_errand.concurrency", "2")]);
    mailing.run_function("app.note");
    let _standby = start_standby(&mailing.cluster);
    mailing.wait(sms, "succeeded");
}

#[test]
fn cancels_while_a_request_waits_for_the_standby_send_nothing_early() {
    let mut mailing = start();
    let task_id = mailing.send("cancelled@mail.test");
    wait_until_sql(&mut mailing.client, WAITING, "1");
    // One for the process is no reason to believe that the request is durable. The other worker's tasks end meanwhile,
    // and give this one the time to do wrong.
    mailing.cluster.set(&[("pg_errand.concurrency", "2")]);
    for _ in 0..10 {
        mailing
            .client
            .execute(
                "select pg_cancel_backend(pid) from queues.worker where in_flight > 0 or task_id is not null",
                &[],
            )
            .unwrap();
        mailing.run_function("app.note");
    }
    assert!(mailing.standin.requests().is_empty());
    wait_until_sql(&mut mailing.client, WAITING, "1");
    // One for the task does not wait for what its worker waits for, and the request is never sent.
    let mut client = mailing.cluster.connect("postgres");
    client.batch_execute("set synchronous_commit = local").unwrap();
    assert!(client.query_one("select queues.cancel($1)", &[&task_id]).unwrap().get::<_, bool>(0));
    assert!(mailing.standin.requests().is_empty());
    let _standby = start_standby(&mailing.cluster);
    mailing.wait(task_id, "cancelled");
    mailing.deliver("other@mail.test");
    assert_eq!((mailing.seen("success").len(), mailing.standin.mail_count()), (1, 1));
}
