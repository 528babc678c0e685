//! Nothing is started again without end: neither a task whose handler ends its worker, nor workers of databases that
//! are created and dropped.

use postgres::Client;
use serde_json::json;

use crate::harness::cluster::{Cluster, StopMode};
use crate::harness::handlers::{create_database, install, one, run_one, runner, task, worker_pids};
use crate::harness::queue::{errors, status, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

/// Workers that stay, and find nothing by polling.
const STAY: [(&str, &str); 3] =
    [("pg_errand.poll_interval", "1h"), ("pg_errand.max_idle_time", "0"), ("pg_errand.max_workers", "6")];

/// `run` runs the payload's `sql` with the rights of a superuser, `run_elsewhere` in another session of database
/// `postgres` that one of database `elsewhere` opens; it waits for that as long as it lives.
const COMMANDERS: &str = "
    create extension dblink;

    create function public.run(payload jsonb) returns jsonb language plpgsql security definer as $$
    begin
        execute payload ->> 'sql';
        return '{}';
    end $$;

    create function public.run_elsewhere(payload jsonb) returns jsonb language plpgsql security definer as $$
    begin
        perform dblink_connect('elsewhere', payload ->> 'elsewhere');
        perform dblink_send_query(
            'elsewhere',
            format('select dblink_exec(%L, %L)', payload ->> 'here', payload ->> 'sql')
        );
        perform pg_sleep(600);
        return '{}';
    end $$;
";

/// What dblink connects with.
fn connection(cluster: &Cluster, database: &str) -> String {
    format!("host={} user=postgres dbname={database}", cluster.socket_dir().display())
}

/// How many worker processes were made to end.
fn ended(cluster: &Cluster) -> usize {
    cluster.log().matches("terminating background worker \"pg_errand worker\"").count()
}

#[test]
fn a_handler_cannot_run_a_command_for_which_its_worker_has_to_leave() {
    let cluster = Cluster::start(&STAY);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(COMMANDERS).unwrap();
    client.batch_execute("create role owner superuser; alter database postgres owner to owner").unwrap();
    client.batch_execute("alter table queues.task owner to owner").unwrap();
    run_one(&mut client, "before");
    let pids = worker_pids(&mut client);
    let through_dblink = format!(
        "select dblink_exec('{}', 'alter extension pg_errand update')",
        connection(&cluster, "postgres")
    );
    for sql in [
        "alter extension pg_errand update",
        "drop extension pg_errand cascade",
        "drop schema internal cascade",
        "drop owned by owner",
        "reassign owned by owner to postgres",
        "alter database postgres rename to other",
        "drop extension plpgsql cascade",
        &through_dblink,
    ] {
        let id = task(&mut client, "run", json!({"sql": sql}));
        wait_status(&mut client, id, "failed");
        let errors = errors(&mut client, id);
        let refused = "a task cannot run a command for which the workers of its database have to leave";
        assert!(errors.len() == 1 && errors[0].error_message.contains(refused), "{sql}: {errors:?}");
        let of_task = format!("from queues.error where task_id = {id}");
        assert_eq!(one::<String>(&mut client, &format!("select sqlstate {of_task}")), "55006", "{sql}");
    }
    run_one(&mut client, "after");
    assert_eq!(worker_pids(&mut client), pids);
    assert_eq!(ended(&cluster), 0);
}

#[test]
fn a_task_that_has_its_worker_end_in_a_roundabout_way_is_given_up_and_others_go_on() {
    let cluster = Cluster::start(&STAY);
    let mut calm = create_database(&cluster, "calm");
    let untouched = task(&mut calm, "linger", json!({"label": "untouched"}));
    let pid = runner(&mut calm, untouched);
    let mut elsewhere = cluster.connect("postgres");
    elsewhere.batch_execute("create database elsewhere").unwrap();
    cluster.connect("elsewhere").batch_execute("create extension dblink").unwrap();
    let mut client = install(&cluster, "postgres");
    client.batch_execute(COMMANDERS).unwrap();

    let innocent = task(&mut client, "linger", json!({"label": "innocent"}));
    runner(&mut client, innocent);
    let id = task(
        &mut client,
        "run_elsewhere",
        json!({
            "elsewhere": connection(&cluster, "elsewhere"),
            "here": connection(&cluster, "postgres"),
            "sql": "alter extension pg_errand update",
        }),
    );
    let attempts = format!("select attempts from queues.task_status where task_id = {id}");
    eventually("it was interrupted twice", || one::<i32>(&mut client, &attempts) >= 2);
    // While it waits for its next run.
    wait_until_sql(&mut client, &format!("select reason from queues.explain({id})"), "interrupted");
    run_one(&mut client, "beside it");
    wait_status(&mut client, id, "failed");
    let errors = errors(&mut client, id);
    assert!(
        errors.len() == 1 && errors[0].error_message.contains("had to leave for a command"),
        "{errors:?}"
    );
    client.batch_execute("update public.door set open = true").unwrap();
    wait_status(&mut client, innocent, "succeeded");
    run_one(&mut client, "after");
    // Its runs, and a few of the others that were interrupted with them.
    let ended = ended(&cluster);
    assert!((5..=20).contains(&ended), "{ended} workers ended");
    assert_eq!(runner(&mut calm, untouched), pid);
}

/// Runs the command that most often interrupts tasks.
fn update(client: &mut Client) {
    client.batch_execute("alter extension pg_errand update").unwrap();
}

#[test]
fn a_task_that_updates_of_the_extension_interrupt_is_run_after_them() {
    let cluster = Cluster::start(&STAY);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "linger", json!({"label": "long"}));
    for _ in 0..4 {
        let pid = runner(&mut client, id);
        update(&mut client);
        eventually("another worker runs it", || runner(&mut client, id) != pid);
    }
    client.batch_execute("update public.door set open = true").unwrap();
    wait_status(&mut client, id, "succeeded");
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.error"), 0);
}

#[test]
fn a_command_does_not_wait_for_ever_for_a_worker_that_does_not_leave() {
    let cluster = Cluster::start(&STAY);
    let mut client = install(&cluster, "postgres");
    let id = task(&mut client, "linger", json!({"label": "stuck"}));
    let pid = runner(&mut client, id);
    cluster.kill(pid, libc::SIGSTOP);
    let error = client.batch_execute("alter extension pg_errand update").unwrap_err();
    let error = error.as_db_error().expect("an answer of the server");
    assert_eq!(error.code().code(), "55006", "{error:?}");
    assert!(error.message().contains(&format!("worker process {pid} runs task {id}")), "{error:?}");
    cluster.kill(pid, libc::SIGCONT);
    eventually("another worker runs it", || runner(&mut client, id) != pid);
    update(&mut client);
    client.batch_execute("update public.door set open = true").unwrap();
    wait_status(&mut client, id, "succeeded");
}

#[test]
fn a_handler_that_computes_without_end_in_perl_can_be_cancelled_terminated_limited_and_stopped() {
    let cluster = Cluster::start(&STAY);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create extension plperl;
             create function public.spin(payload jsonb) returns jsonb language plperl as 'while (1) {}'",
        )
        .unwrap();
    let id = task(&mut client, "spin", json!({}));
    runner(&mut client, id);
    assert!(one::<bool>(&mut client, &format!("select queues.cancel({id})")));
    wait_status(&mut client, id, "cancelled");
    run_one(&mut client, "after a cancel");

    let id = task(&mut client, "spin", json!({}));
    let pid = runner(&mut client, id);
    assert!(one::<bool>(&mut client, &format!("select pg_terminate_backend({pid})")));
    let next =
        eventually("another worker runs it", || Some(runner(&mut client, id)).filter(|other| *other != pid));
    drop(client);
    cluster.restart(StopMode::Fast);
    let mut client = cluster.connect("postgres");
    assert_ne!(runner(&mut client, id), next);
    cluster.set(&[("pg_errand.handler_timeout", "100ms")]);
    // The limit counts from the next run on.
    let pid = runner(&mut client, id);
    assert!(one::<bool>(&mut client, &format!("select pg_terminate_backend({pid})")));
    wait_status(&mut client, id, "failed");
    let errors = errors(&mut client, id);
    assert!(errors.len() == 1 && errors[0].error_message.contains("its worker ended 3 times"), "{errors:?}");
    run_one(&mut client, "after its end");
    let log = cluster.log();
    assert!(log.contains("a handler goes on computing although its worker was told to end"), "{log}");
    assert!(!log.contains("PANIC:") && !log.contains("terminated by signal"), "{log}");
}

#[test]
fn a_handler_that_has_its_worker_ignore_signals_does_so_for_its_own_task_only() {
    let cluster = Cluster::start(&[STAY[0], STAY[1], ("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    client
        .batch_execute(
            "create extension plperl;
             create function public.deafen(payload jsonb) returns jsonb language plperl as $$
                 $SIG{$_} = 'IGNORE' for qw(TERM INT ALRM USR1 HUP);
                 return '{}';
             $$",
        )
        .unwrap();
    let deafen = |client: &mut Client| {
        let id = task(client, "deafen", json!({}));
        wait_status(client, id, "succeeded");
    };
    deafen(&mut client);
    let id = task(&mut client, "linger", json!({}));
    let pid = runner(&mut client, id);
    assert!(one::<bool>(&mut client, &format!("select pg_cancel_backend({pid})")));
    wait_status(&mut client, id, "failed");
    deafen(&mut client);
    let id = task(&mut client, "linger", json!({}));
    let pid = runner(&mut client, id);
    assert!(one::<bool>(&mut client, &format!("select pg_terminate_backend({pid})")));
    eventually("another worker runs it", || runner(&mut client, id) != pid);
    client.batch_execute("update public.door set open = true").unwrap();
    wait_status(&mut client, id, "succeeded");
    deafen(&mut client);
    cluster.set(&[("pg_errand.handler_timeout", "100ms")]);
    eventually("the limit counts", || {
        let id = task(&mut client, "nap", json!({"seconds": 0.5}));
        let ended = format!(
            "select count(*)::text from queues.task where task_id = {id} and finished_at is not null"
        );
        wait_until_sql(&mut client, &ended, "1");
        status(&mut client, id) == "failed"
    });
}

/// More databases than the server's shared memory has room for.
const MANY: i64 = 520;

#[test]
fn databases_that_come_and_go_leave_room_for_others() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.connect("postgres");
    client.batch_execute("create database pattern allow_connections false").unwrap();
    for n in 0..MANY {
        // Without files, which nobody asks for, it takes a tenth of the time.
        let make = format!(
            "set allow_system_table_mods = on;
                 insert into pg_database
                 select made.*
                 from pg_database pattern,
                     jsonb_populate_record(
                         pattern,
                         jsonb_build_object('oid', {oid}, 'datname', 'passing')
                     ) made
                 where pattern.datname = 'pattern'",
            oid = 1_000_000 + n
        );
        client.batch_execute(&make).unwrap();
        client.batch_execute("drop database passing").unwrap();
    }
    let mut late = create_database(&cluster, "late");
    run_one(&mut late, "runs");
}
