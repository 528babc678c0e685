//! `queues.metrics` for Prometheus: that it agrees with the statistics and with docs/monitoring.md, who may read it, and, in
//! `prometheus`, that Debian's Prometheus and exporters make series, alerts and a dashboard of it.

mod files;
mod prometheus;
mod scenario;
mod tool;

use std::collections::{BTreeMap, BTreeSet};

use postgres::Client;
use postgres::error::SqlState;
use serde_json::{Value, json};

use crate::harness::builder::Builder;
use crate::harness::calling::Calling;
use crate::harness::cluster::Cluster;
use crate::harness::handlers::{Gate, install, one, runner, task};
use crate::harness::queue::{enqueue, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};
use scenario::{make_trouble, run_some};

/// The value of a sample.
#[track_caller]
fn sample(client: &mut Client, name: &str, labels: &Value) -> f64 {
    let sql = "select value from queues.metrics where name = $1 and labels @> $2";
    client
        .query_one(sql, &[&name, labels])
        .unwrap_or_else(|error| panic!("{name} {labels}: {error:?}"))
        .get(0)
}

fn names(client: &mut Client) -> BTreeSet<String> {
    let rows = client.query("select distinct family from queues.metrics", &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn the_page_lists_the_metrics_with_type_labels_and_help() {
    let mut calling = scenario::start();
    run_some(&mut calling, 2);
    make_trouble(&mut calling);
    let gate = Gate::close(&calling.cluster, "postgres", 1);
    let held = task(&mut calling.client, "gate", json!({"gate": 1}));
    runner(&mut calling.client, held);
    let sql = "select m.name, m.type, m.help, coalesce(string_agg(distinct l, ', '), '')
        from errand.metric m
        left join queues.metrics s on s.family = m.name
        left join lateral jsonb_object_keys(s.labels - 'datname' - 'le') l on true
        group by m.name, m.type, m.help";
    let rows = calling.client.query(sql, &[]).unwrap();
    let found = rows.iter().map(|row| {
        let labels: String = row.get(3);
        let labels: BTreeSet<_> =
            labels.split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
        (row.get::<_, String>(0), (row.get::<_, String>(1), labels, row.get::<_, String>(2)))
    });
    let found: BTreeMap<_, _> = found.collect();
    for (name, listed) in files::metrics_of_the_page() {
        assert_eq!(found.get(&name), Some(&listed), "{name}");
    }
    assert_eq!(found.len(), files::metrics_of_the_page().len());
    // Each of them has a sample now, and is in the database of that name.
    let all: BTreeSet<_> = found.into_keys().collect();
    assert_eq!(names(&mut calling.client), all);
    assert!(one::<bool>(
        &mut calling.client,
        "select bool_and(labels ->> 'datname' = 'postgres') from queues.metrics"
    ));
    gate.open();
    wait_status(&mut calling.client, held, "succeeded");
}

#[test]
fn metrics_follow_the_rules_of_prometheus() {
    let mut calling = scenario::start();
    run_some(&mut calling, 1);
    let broken = "select name from queues.metrics
        where family !~ '^pg_errand_[a-z_]+$'
            or (family like '%\\_total') <> (type = 'counter')
            or (type = 'histogram') <> (family <> name)
            or type = 'histogram' and family !~ '_seconds$'
            or (name like '%\\_bucket') <> (labels ? 'le')
            or type = 'counter' and value < 0";
    assert!(calling.client.query(broken, &[]).unwrap().is_empty());
    let same = "select count(*) = count(distinct (name, labels)) from queues.metrics";
    assert!(one::<bool>(&mut calling.client, same));
}

#[test]
fn metrics_agree_with_the_statistics() {
    let mut calling = scenario::start();
    run_some(&mut calling, 4);
    let client = &mut calling.client;
    let of = |status: &str| json!({"task_type": "db_function", "status": status});
    for (status, column) in [("succeeded", "succeeded"), ("failed", "failed"), ("cancelled", "cancelled")] {
        let counted = format!(
            "select {column}::float8 from queues.stats
            where task_type = 'db_function' and handler is null and provider is null"
        );
        let counted: f64 = one(client, &counted);
        assert!(counted > 0.0, "{status}");
        assert_eq!(sample(client, "pg_errand_tasks_total", &of(status)), counted, "{status}");
    }
    let calls: f64 =
        one(client, "select sum(calls)::float8 from queues.stats where provider in ('api', 'broken')");
    let shown = "select sum(value) from queues.metrics where name = 'pg_errand_calls_total'
        and labels ->> 'provider' in ('api', 'broken')";
    assert_eq!(one::<f64>(client, shown), calls);
    let failed = json!({"provider": "api", "response": "5xx"});
    assert!(sample(client, "pg_errand_calls_total", &failed) > 0.0);

    let handler = json!({"handler": "public.note", "invoked_as": "db_function"});
    let counted: f64 =
        one(client, "select invocations::float8 from queues.stats where handler = 'public.note'");
    assert_eq!(sample(client, "pg_errand_handler_seconds_count", &handler), counted);
    let last = json!({"handler": "public.note", "le": "+Inf"});
    assert_eq!(sample(client, "pg_errand_handler_seconds_bucket", &last), counted);
    let mean: f64 = one(client, "select running_mean / 1000 from queues.stats where handler = 'public.note'");
    let sum = sample(client, "pg_errand_handler_seconds_sum", &handler);
    assert!((sum / counted - mean).abs() < 1e-6, "{sum} {counted} {mean}");
    // 13 buckets each, which grow.
    let wrong = "select labels - 'le' from (
            select labels, value, lag(value) over (partition by name, labels - 'le' order by (labels ->> 'le')::float8) as before
            from queues.metrics where name like '%\\_bucket'
        ) b group by labels - 'le' having count(*) <> 13 and count(*) % 13 <> 0 or bool_or(value < before)";
    assert!(client.query(wrong, &[]).unwrap().is_empty());
    let bounds = "select min((labels ->> 'le')::float8), max((labels ->> 'le')::float8) filter (where labels ->> 'le' <> '+Inf')
        from queues.metrics where name like '%\\_bucket'";
    let bounds = client.query_one(bounds, &[]).unwrap();
    assert_eq!((bounds.get::<_, f64>(0), bounds.get::<_, f64>(1)), (0.001024, 4294.967296));
}

#[test]
fn what_waits_runs_and_is_wrong_is_measured() {
    let mut calling = scenario::start();
    run_some(&mut calling, 2);
    make_trouble(&mut calling);
    let client = &mut calling.client;
    let age = sample(client, "pg_errand_oldest_ready_age_seconds", &json!({"task_type": "sms"}));
    assert!((3600.0..3900.0).contains(&age), "{age}");
    let waiting = json!({"task_type": "sms", "reason": "type_paused"});
    assert_eq!(sample(client, "pg_errand_waiting_tasks", &waiting), 1.0);
    assert_eq!(sample(client, "pg_errand_type_paused", &json!({"task_type": "sms"})), 1.0);
    assert_eq!(sample(client, "pg_errand_paused_keys", &json!({"task_type": "db_function"})), 1.0);
    assert_eq!(sample(client, "pg_errand_database_paused", &json!({})), 0.0);
    for (provider, state) in [("api", "paused"), ("broken", "broken"), ("resend", "ok")] {
        let of = json!({"provider": provider, "state": state});
        assert_eq!(sample(client, "pg_errand_provider_state", &of), 1.0, "{provider}");
        let sum = format!(
            "select sum(value) from queues.metrics
            where name = 'pg_errand_provider_state' and labels ->> 'provider' = '{provider}'"
        );
        assert_eq!(one::<f64>(client, &sum), 1.0, "{provider}");
    }
    let until = "pg_errand_provider_until_timestamp_seconds";
    assert_eq!(sample(client, until, &json!({"provider": "api", "state": "paused"})), f64::INFINITY);
    let broken = sample(client, until, &json!({"provider": "broken", "state": "broken"}));
    let left = broken - one::<f64>(client, "select extract(epoch from clock_timestamp())::float8");
    assert!((3000.0..3601.0).contains(&left), "{left}");
    assert_eq!(
        sample(client, "pg_errand_provider_consecutive_failures", &json!({"provider": "broken"})),
        2.0
    );
    let problem = |problem: &str| json!({ "problem": problem });
    // It has two severities.
    let is_open = "select sum(value) from queues.metrics where name = 'pg_errand_problem' and labels ->> 'problem' = 'breaker_open'";
    assert_eq!(one::<f64>(client, is_open), 1.0);
    assert_eq!(sample(client, "pg_errand_problem", &problem("not_preloaded")), 0.0);
    client.batch_execute("select queues.pause()").unwrap();
    assert_eq!(sample(client, "pg_errand_database_paused", &json!({})), 1.0);
    assert_eq!(sample(client, "pg_errand_problem", &problem("database_paused")), 1.0);
}

#[test]
fn overdue_tasks_are_measured_as_their_type_keeps_them() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0"), ("pg_errand.retention", "1d")]);
    let mut client = install(&cluster, "postgres");
    let overdue = |client: &mut Client| sample(client, "pg_errand_retention_overdue_seconds", &json!({}));
    assert_eq!(overdue(&mut client), 0.0);
    client
        .batch_execute(
            "insert into queues.task (task_type, payload, finished_at, final_status)
             values ('db_function', '{}', now() - interval '23 hours', 'succeeded')",
        )
        .unwrap();
    assert_eq!(overdue(&mut client), 0.0);
    let keep = |client: &mut Client, time: &str| {
        let sql = format!(
            "update queues.task_definition set keep_succeeded_for = {time} where task_type = 'db_function'"
        );
        client.batch_execute(&sql).unwrap();
    };
    keep(&mut client, "'20 hours'");
    let seconds = overdue(&mut client);
    assert!((10_800.0..11_100.0).contains(&seconds), "{seconds}");
    let told = "select count(*) from queues.health where problem = 'retention_behind'";
    assert_eq!(one::<i64>(&mut client, told), 1);
    keep(&mut client, "'22 hours'");
    assert_eq!(one::<i64>(&mut client, told), 0);
    keep(&mut client, "'0'");
    assert_eq!(overdue(&mut client), 0.0);
}

/// Names that differ only where statistics no longer show it, and a name that the format has to escape.
#[test]
fn hostile_names_are_escaped_and_add_up() {
    let mut calling = scenario::start();
    run_some(&mut calling, 1);
    let client = &mut calling.client;
    // Blanks between the parts of a name change nothing but the name that is shown.
    for spaces in [200, 201, 202] {
        let name = format!("public{}.note", " ".repeat(spaces));
        enqueue(client, "db_function", json!({"db_function": name, "label": "x"}));
    }
    wait_until_sql(client, "select count(*) from queues.task where finished_at is null", "0");
    let same = "select count(*) = count(distinct (name, labels)) from queues.metrics";
    assert!(one::<bool>(client, same));
    let long = "select max(value) from queues.metrics
        where name = 'pg_errand_handler_seconds_count' and labels ->> 'handler' like 'public    %'";
    assert_eq!(one::<f64>(client, long), 3.0);
    let text: String = one(client, "select queues.metrics_text()");
    let line = "pg_errand_handler_seconds_count{datname=\"postgres\",\
        handler=\"public.\\\"quote\\\"\\\" back\\\\ line\\n\\\"\",invoked_as=\"db_function\",task_type=\"db_function\"} 1";
    assert!(text.lines().any(|found| found == line), "{line}\n{text}");
}

#[test]
fn the_text_has_each_sample_below_its_type() {
    let mut calling = scenario::start();
    run_some(&mut calling, 1);
    let text: String = one(&mut calling.client, "select queues.metrics_text()");
    let mut family = "";
    let (mut families, mut samples) = (BTreeSet::new(), 0);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap();
            assert!(families.insert(family), "{family} twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(rest.starts_with(family), "{line}");
        } else {
            assert!(line.starts_with(family) && line.contains("{datname=\"postgres\""), "{line}");
            samples += 1;
        }
    }
    assert!(text.ends_with('\n'));
    let rows: i64 = one(&mut calling.client, "select count(*) from queues.metrics");
    assert_eq!(samples, rows);
    let problem = "pg_errand_problem{datname=\"postgres\",problem=\"not_preloaded\",severity=\"error\"} 0";
    assert!(text.contains(problem), "{text}");
    assert!(text.contains(",le=\"+Inf\"} "), "{text}");
}

#[test]
fn monitoring_reads_them_and_nobody_else_and_there_is_no_payload() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "1")]);
    let mut client = install(&cluster, "postgres");
    let failed = task(&mut client, "refuse", json!({"label": "s3cret"}));
    wait_status(&mut client, failed, "failed");
    client
        .batch_execute(
            "create role watcher login in role pg_monitor; create role granted login;
             select queues.grant_role('granted', 'monitor'); create role nobody login;
             grant usage on schema queues, errand to nobody",
        )
        .unwrap();
    for role in ["watcher", "granted"] {
        let mut role = cluster.connect_as(role, "postgres");
        assert!(one::<i64>(&mut role, "select count(*) from queues.metrics") > 50);
        let text: String = one(&mut role, "select queues.metrics_text()");
        assert!(text.contains("pg_errand_errors_total{"), "{text}");
        assert!(!text.contains("s3cret") && !text.contains("refused"), "{text}");
    }
    let mut nobody = cluster.connect_as("nobody", "postgres");
    for sql in [
        "select * from queues.metrics",
        "select queues.metrics_text()",
        "select * from errand.counter_sample",
    ] {
        let error = nobody.batch_execute(sql).unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}");
    }
}

#[test]
fn they_are_read_on_standbys_and_without_the_preloaded_library() {
    let mut calling: Calling = scenario::start();
    run_some(&mut calling, 1);
    make_trouble(&mut calling);
    let standby = Builder::standby_of(&calling.cluster).start();
    let mut client = standby.connect("postgres");
    eventually("the pause is replicated", || {
        one::<i64>(&mut client, "select count(*) from queues.paused where task_type = 'sms'") == 1
    });
    assert_eq!(sample(&mut client, "pg_errand_is_standby", &json!({})), 1.0);
    let waiting = json!({"task_type": "sms", "reason": "standby"});
    assert_eq!(sample(&mut client, "pg_errand_waiting_tasks", &waiting), 1.0);
    let names_there = names(&mut client);
    for absent in
        ["pg_errand_workers", "pg_errand_concurrency", "pg_errand_tasks_total", "pg_errand_calls_in_flight"]
    {
        assert!(!names_there.contains(absent), "{absent}");
    }
    assert!(one::<String>(&mut client, "select queues.metrics_text()").contains("pg_errand_is_standby"));

    let bare = Cluster::start(&[("shared_preload_libraries", "")]);
    let mut client = install(&bare, "postgres");
    assert_eq!(sample(&mut client, "pg_errand_problem", &json!({"problem": "not_preloaded"})), 1.0);
    assert_eq!(sample(&mut client, "pg_errand_workers", &json!({"state": "idle"})), 0.0);
    assert_eq!(sample(&mut client, "pg_errand_is_standby", &json!({})), 0.0);
}

#[test]
fn each_problem_of_the_page_is_measured() {
    let cluster = Cluster::start(&[("pg_errand.concurrency", "0")]);
    let mut client = install(&cluster, "postgres");
    let sql = "select labels ->> 'problem' from queues.metrics where name = 'pg_errand_problem'";
    let measured: BTreeSet<String> = client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(measured, files::problems_of_the_page());
    let severities = "select count(*) from queues.metrics where name = 'pg_errand_problem' and value = 1
        and not exists (select from queues.health h where h.problem = labels ->> 'problem' and h.severity = labels ->> 'severity')";
    assert_eq!(one::<i64>(&mut client, severities), 0);
}
