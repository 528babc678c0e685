//! Extensions that observe a session, such as pgaudit, see each run of a handler and each task that is enqueued.

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{install, one, run_one};
use crate::harness::wait::wait_until_sql;

const ONE_WORKER: [(&str, &str); 2] = [("pg_errand.concurrency", "1"), ("pg_errand.max_idle_time", "0")];

#[test]
fn pgaudit_records_each_run_of_a_handler() {
    for libraries in ["pgaudit, pg_errand", "pg_errand, pgaudit"] {
        let settings = [("shared_preload_libraries", libraries), ("pgaudit.log", "function")];
        let builder = settings.iter().chain(&ONE_WORKER);
        let cluster =
            builder.fold(Cluster::builder(), |builder, (name, value)| builder.set(name, value)).start();
        let mut client = install(&cluster, "postgres");
        let mark = cluster.log_mark();
        for round in 0..4 {
            run_one(&mut client, &round.to_string());
        }
        let log = cluster.log_since(mark);
        let records =
            log.lines().filter(|line| line.contains("AUDIT:") && line.contains("public.note")).count();
        assert_eq!(records, 4, "{libraries}:\n{log}");
    }
}

#[test]
fn pgaudit_records_each_task_that_is_enqueued() {
    let settings = [
        ("shared_preload_libraries", "pgaudit, pg_errand"),
        ("pgaudit.log", "write"),
        ("pg_errand.concurrency", "0"),
    ];
    let cluster = Cluster::start(&settings);
    let mut client = install(&cluster, "postgres");
    let mark = cluster.log_mark();
    // More than for which statements are used anyway.
    let enqueue =
        "do $$ begin for n in 1 .. 250 loop perform queues.enqueue('db_function', '{}'); end loop; end $$";
    client.batch_execute(enqueue).unwrap();
    let log = cluster.log_since(mark);
    assert_eq!(log.lines().filter(|line| line.contains("WRITE,INSERT,")).count(), 250, "{log}");
}

#[test]
fn track_functions_counts_each_run_of_a_handler() {
    let cluster = Cluster::start(&[ONE_WORKER[0], ONE_WORKER[1], ("track_functions", "all")]);
    let mut client = install(&cluster, "postgres");
    for round in 0..4 {
        run_one(&mut client, &round.to_string());
    }
    let sql = "select calls from pg_stat_user_functions where funcname = 'note'";
    wait_until_sql(&mut client, sql, "4");
    assert_eq!(one::<i64>(&mut client, "select count(*) from public.done"), 4);
}
