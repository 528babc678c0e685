//! The server can be stopped whatever its workers are doing, and all tasks continue after the start, once.

use postgres::Client;
use serde_json::json;
use standin::Behaviour;

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{done, install, one, runner, task};
use crate::harness::mailing::{Mailing, mail, task as mail_task};
use crate::harness::queue::wait_status;
use crate::harness::wait::{eventually, wait_until_sql};

const MODES: [StopMode; 4] = [StopMode::Smart, StopMode::Fast, StopMode::Immediate, StopMode::Kill];

/// Stops the server and starts it again; returns a new session. A smart stop waits for clients, so the last one leaves.
#[track_caller]
fn restart(cluster: &Cluster, client: Client, mode: StopMode) -> Client {
    drop(client);
    cluster.restart(mode);
    cluster.connect("postgres")
}

#[test]
fn a_stop_waits_for_no_handler_whatever_it_is_doing() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "4"), ("pg_errand.poll_interval", "1h")]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create table public.brake (held boolean);
             insert into public.brake values (true);
             grant select, update on public.brake to public;
             create function public.is_held() returns boolean language sql as $$ select held from public.brake $$;
             create function public.sleeps(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 if public.is_held() then perform pg_sleep(600); end if;
                 return public.note(payload);
             end $$;
             create function public.spins(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 while public.is_held() loop null; end loop;
                 return public.note(payload);
             end $$;
             create function public.catches(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 while public.is_held() loop
                     begin
                         perform pg_sleep(600);
                     exception when query_canceled or others then
                         null;
                     end;
                 end loop;
                 return public.note(payload);
             end $$;
             create function public.writes(payload jsonb) returns jsonb language plpgsql as $$
             begin
                 perform public.note(payload);
                 if public.is_held() then perform pg_sleep(600); end if;
                 return '{}';
             end $$;",
        )
        .unwrap();
    let handlers = ["sleeps", "spins", "catches", "writes"];
    let ids: Vec<i64> = handlers.iter().map(|name| task(&mut client, name, json!({"label": name}))).collect();
    for mode in MODES {
        for id in &ids {
            runner(&mut client, *id);
        }
        client = restart(&cluster, client, mode);
    }
    client.batch_execute("update public.brake set held = false").unwrap();
    // Those that went to sleep in this life of the server.
    let wake = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'";
    let ended = "select count(*) from queues.task where finished_at is not null";
    eventually("they have ended", || {
        client.execute(wake, &[]).unwrap();
        one::<i64>(&mut client, ended) == 4
    });
    // Stops are nobody's fault: no task was given up.
    let deaths = "select count(*) from queues.error where error_message like '%its worker ended%'";
    assert_eq!(one::<i64>(&mut client, deaths), 0);
    let labels = "select count(*) from public.done where label in ('catches', 'spins')";
    assert_eq!(one::<i64>(&mut client, labels), 2);
}

#[test]
fn a_stop_with_all_places_taken_by_a_provider_that_never_answers_ends_and_loses_no_mail() {
    let mut mailing = Mailing::start(&[("pg_errand.concurrency", "1"), ("pg_errand.call_timeout", "10min")]);
    for (round, mode) in MODES.into_iter().enumerate() {
        mailing.standin.behave(|_| Some(Behaviour::never().refusing()));
        mailing.standin.clear();
        let payload = mail_task(&mail("someone@mail.test"));
        let sql =
            "insert into queues.task (task_type, payload) select 'email', $1 from generate_series(1, 64)";
        mailing.client.execute(sql, &[&payload]).unwrap();
        mailing.wait_requests(64);
        // The only client takes its leave.
        let _ = mailing.client.batch_execute("select pg_terminate_backend(pg_backend_pid())");
        mailing.cluster.stop(mode);
        mailing.standin.behave_as_usual();
        mailing.cluster.start_again();
        mailing.client = mailing.cluster.connect("postgres");
        let succeeded = "select count(*) from queues.task_status where status = 'succeeded'";
        wait_until_sql(&mut mailing.client, succeeded, &(64 * (round + 1)).to_string());
        assert_eq!((mailing.standin.requests().len(), mailing.standin.mail_count()), (128, 64), "{mode:?}");
        let keys = mailing.standin.requests();
        let mut keys: Vec<_> =
            keys.iter().map(|exchange| exchange.request.header("Idempotency-Key")).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 64, "{mode:?}");
        assert_eq!(mailing.seen("success").len(), 64 * (round + 1), "{mode:?}");
    }
    assert!(mailing.seen("error").is_empty());
}

#[test]
fn stops_in_the_middle_of_many_tasks_lose_and_repeat_none() {
    let cluster = Cluster::start(&[
        ("pg_errand.concurrency", "3"),
        ("pg_errand.log_level", "warning"),
        ("pg_errand.retention", "0"),
    ]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "insert into queues.task (task_type, payload)
             select 'db_function', jsonb_build_object(
                 'db_function', 'public.nap', 'seconds', 0.001, 'label', n, 'success_handler', 'public.note')
             from generate_series(1, 3000) n",
        )
        .unwrap();
    for (round, mode) in MODES.into_iter().enumerate() {
        let some =
            format!("select count(*) > {} from queues.task where finished_at is not null", round * 400);
        wait_until_sql(&mut client, &some, "t");
        client = restart(&cluster, client, mode);
    }
    wait_until_sql(&mut client, "select count(*) from queues.task_status where status = 'succeeded'", "3000");
    let once =
        "select count(*) = 3000 and count(distinct label) = 3000 from public.done where label is not null";
    assert!(one::<bool>(&mut client, once));
    assert_eq!(one::<i64>(&mut client, "select count(*) from public.done where label is null"), 3000);
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.error"), 0);
}

#[test]
fn a_stop_during_the_start_of_workers_harms_nothing() {
    let cluster = Cluster::start(&[("pg_errand.max_idle_time", "1ms"), ("pg_errand.concurrency", "3")]);
    let mut client = install(&cluster, "postgres");
    for round in 0..6 {
        let ids: Vec<i64> =
            (0..3).map(|n| task(&mut client, "note", json!({"label": format!("{round}.{n}")}))).collect();
        // At once: the workers are being started.
        client = restart(&cluster, client, MODES[round % 3]);
        for id in ids {
            wait_status(&mut client, id, "succeeded");
        }
    }
    let mut labels = done(&mut client);
    labels.sort();
    labels.dedup();
    assert_eq!((labels.len(), one::<i64>(&mut client, "select count(*) from public.done")), (18, 18));
    let log = cluster.log();
    assert!(!log.contains("PANIC:") && !log.contains("was terminated by signal"), "{log}");
}
