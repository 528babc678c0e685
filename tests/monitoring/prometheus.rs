//! The programs of Debian: promtool checks what is in examples/monitoring, both exporters read a real server, and Prometheus
//! answers the queries of the dashboard and of the alerts. `dev/setup` installs them; where they are missing, `dev/test` leaves
//! these tests out and says so.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use standin::{Answer, Web};

use super::files::{self, PROMETHEUS, SQL_EXPORTER};
use super::scenario::{self, make_trouble, run_some};
use super::tool::Daemon;
use crate::harness::calling::Calling;
use crate::harness::handlers::{Gate, create_database, one, runner, task};
use crate::harness::programs::{output, tool};
use crate::harness::run_dir::new_directory;
use crate::harness::wait::{eventually, wait_until_sql};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/monitoring");

#[test]
fn promtool_accepts_the_rules_and_the_configuration() {
    for arguments in [
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts_test.yaml"],
        ["check", "config", "prometheus.yaml"],
    ] {
        output(tool("promtool").args(arguments).current_dir(EXAMPLES));
    }
    // The tests of the rules name each alert.
    let tests = std::fs::read_to_string(format!("{EXAMPLES}/alerts_test.yaml")).unwrap();
    for (alert, _) in files::alerts() {
        assert!(tests.matches(&format!("alertname: {alert}\n")).count() >= 1, "{alert}");
    }
}

#[test]
fn promtool_accepts_the_text() {
    let mut calling = scenario::start();
    run_some(&mut calling, 2);
    make_trouble(&mut calling);
    let text: String = one(&mut calling.client, "select queues.metrics_text()");
    let mut promtool = tool("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let result = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&result.stderr).into_owned();
    assert!(result.status.success() && said.is_empty(), "{said}\n{text}");
}

/// Prometheus with both exporters, and the text in the place of node_exporter.
struct Monitored {
    calling: Calling,
    text: Arc<Mutex<String>>,
    exporters: Vec<Daemon>,
    prometheus: Daemon,
    _web: Web,
}

/// Replaces a part of an example that has to be there.
#[track_caller]
fn with(text: &str, part: &str, other: &str) -> String {
    assert!(text.contains(part), "{part}");
    text.replace(part, other)
}

#[track_caller]
fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

impl Monitored {
    #[track_caller]
    fn start(mut calling: Calling) -> Self {
        // Another database of the same server.
        drop(create_database(&calling.cluster, "other"));
        for database in ["postgres", "other"] {
            calling.cluster.psql(database, files::ROLE);
        }
        let directory = new_directory();
        let socket = calling.cluster.socket_dir().display().to_string();

        let postgres_exporter = Daemon::start("prometheus-postgres-exporter", |command, port| {
            command
                .arg(format!("--extend.query-path={EXAMPLES}/postgres_exporter.yaml"))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .args(["--auto-discover-databases", "--include-databases=postgres,other"])
                .env(
                    "DATA_SOURCE_NAME",
                    format!("host={socket} user=errand_exporter dbname=postgres sslmode=disable"),
                );
        });
        let config = with(SQL_EXPORTER, "interval: 15s", "interval: 1s");
        let connection =
            |database: &str| format!("postgres://errand_exporter@/{database}?host={socket}&sslmode=disable");
        let connections = format!("{}\n      - {}", connection("postgres"), connection("other"));
        let config = with(&config, "postgres://errand_exporter@localhost/app?sslmode=disable", &connections);
        let config = write(&directory, "sql_exporter.yaml", &config);
        let sql_exporter = Daemon::start("prometheus-sql-exporter", |command, port| {
            command.arg(format!("-config.file={}", config.display()));
            command.arg(format!("-web.listen-address=127.0.0.1:{port}"));
        });

        let text = Arc::new(Mutex::new(one::<String>(&mut calling.client, "select queues.metrics_text()")));
        let shown = Arc::clone(&text);
        let web = Web::start(move |_| {
            let text = shown.lock().unwrap().clone();
            Answer::new(200, "text/plain; version=0.0.4; charset=utf-8", text)
        })
        .unwrap();

        write(&directory, "alerts.yaml", files::ALERTS);
        let config = with(PROMETHEUS, "_interval: 15s", "_interval: 1s");
        let config = with(&config, "localhost:9187", &format!("127.0.0.1:{}", postgres_exporter.port()));
        let config = with(&config, "localhost:9237", &format!("127.0.0.1:{}", sql_exporter.port()));
        let config = with(&config, "localhost:9100", web.url().trim_start_matches("http://"));
        let config = write(&directory, "prometheus.yaml", &config);
        let prometheus = Daemon::start("prometheus", |command, port| {
            command
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", directory.join("series").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .current_dir(&directory);
        });
        Self { calling, text, exporters: vec![postgres_exporter, sql_exporter], prometheus, _web: web }
    }

    /// Writes the text again, as cron does.
    fn refresh(&mut self) {
        *self.text.lock().unwrap() = one(&mut self.calling.client, "select queues.metrics_text()");
    }

    /// Waits until a query returns something else than "not a number".
    #[track_caller]
    fn wait(&mut self, what: &str, expression: &str) {
        eventually(&format!("{what} has data: {expression}"), || {
            self.refresh();
            let found = self.prometheus.query(expression)?;
            let has_number = found.iter().any(|series| series["value"][1] != "NaN");
            if has_number { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }

    /// The series of the database "postgres" of a job, without what tells jobs apart.
    fn series(&self, job: &str) -> Result<BTreeSet<String>, String> {
        let found = self
            .prometheus
            .query(&format!("{{__name__=~\"pg_errand_.+\", job=\"{job}\", datname=\"postgres\"}}"))?;
        let series = found.iter().map(|series| {
            let mut labels = series["metric"].clone();
            let labels = labels.as_object_mut().unwrap();
            ["job", "instance", "server"].iter().for_each(|label| drop(labels.remove(*label)));
            Value::Object(labels.clone()).to_string()
        });
        Ok(series.collect())
    }
}

const JOBS: [&str; 3] = ["postgres_exporter", "sql_exporter", "node_exporter"];

#[test]
fn exporters_make_the_same_series_and_the_dashboard_shows_them() {
    let mut calling = scenario::start();
    run_some(&mut calling, 2);
    let mut monitored = Monitored::start(calling);
    for job in JOBS {
        monitored.wait(job, &format!("pg_errand_tasks_total{{status=\"failed\", job=\"{job}\"}} > 0"));
    }
    for job in &JOBS[..2] {
        monitored.wait(job, &format!("pg_errand_info{{datname=\"other\", job=\"{job}\"}}"));
    }
    // What the rates are of.
    run_some(&mut monitored.calling, 5);
    make_trouble(&mut monitored.calling);
    let gate = Gate::close(&monitored.calling.cluster, "postgres", 1);
    let held = task(&mut monitored.calling.client, "gate", json!({"gate": 1}));
    runner(&mut monitored.calling.client, held);
    for (panel, expression) in files::dashboard_expressions() {
        let expression = expression.replace("$__rate_interval", "10m");
        let expression = ["instance", "datname", "task_type"]
            .iter()
            .fold(expression, |expression, name| expression.replace(&format!("${name}"), ".*"));
        assert!(!expression.contains('$'), "{expression}");
        monitored.wait(&panel, &expression);
    }
    eventually("all jobs have the same series", || {
        monitored.refresh();
        let [first, second, third] = JOBS.map(|job| monitored.series(job));
        let (first, second, third) = (first?, second?, third?);
        let differing: Vec<_> =
            first.symmetric_difference(&second).chain(second.symmetric_difference(&third)).cloned().collect();
        if differing.is_empty() && first.len() > 100 { Ok(()) } else { Err(differing.join("\n")) }
    });
    gate.open();
}

/// Fills the table of statistics: names of handlers that differ in the case of their letters.
fn fill_the_statistics(calling: &mut Calling) {
    let names = (0..1024u32).map(|number| {
        let letters = "publicnote".char_indices().map(|(place, letter)| {
            if number >> place & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
        });
        let letters: String = letters.collect();
        let (schema, name) = letters.split_at("public".len());
        format!("{schema}.{name}")
    });
    let payloads: Vec<_> =
        names.map(|name| json!({"task_type": "db_function", "db_function": name})).collect();
    let sql = "select queues.enqueue_many('db_function', $1)";
    calling.client.execute(sql, &[&payloads]).unwrap();
    wait_until_sql(&mut calling.client, "select uncounted > 0 from queues.stats_info", "t");
}

#[test]
fn each_alert_is_raised_by_what_it_is_about() {
    let mut calling = scenario::start();
    run_some(&mut calling, 1);
    let mut monitored = Monitored::start(calling);
    monitored.wait("the first scrape", "pg_errand_tasks_total{status=\"failed\", task_type=\"api\"} > 0");
    run_some(&mut monitored.calling, 6);
    make_trouble(&mut monitored.calling);
    let alerts = files::alerts();
    let expression = |name: &str| alerts.iter().find(|(alert, _)| alert == name).unwrap().1.clone();
    let failing = expression("PgErrandFailureRatio");
    monitored.wait("PgErrandFailureRatio", &failing);

    fill_the_statistics(&mut monitored.calling);
    monitored.wait("PgErrandStatisticsFull", &expression("PgErrandStatisticsFull"));
    // So many series take longer than the second that a scrape may take here.
    monitored.calling.client.batch_execute("select queues.stats_reset()").unwrap();
    monitored.calling.cluster.set(&[("pg_errand.concurrency", "0")]);
    wait_until_sql(&mut monitored.calling.client, "select count(*) from queues.worker", "0");
    monitored
        .calling
        .client
        .batch_execute(
            "insert into queues.task (task_type, payload, scheduled_at) values ('db_function', '{}', now() - interval '1 hour');
             insert into queues.task (task_type, payload, finished_at, final_status)
             values ('db_function', '{}', now() - interval '5 hours', 'succeeded');
             update queues.task set finished_at = now() - interval '5 hours'
             where task_id = (select min(task_id) from queues.task where finished_at is not null);
             alter table queues.task set (autovacuum_enabled = off)",
        )
        .unwrap();
    for (alert, expression) in &alerts {
        if alert == "PgErrandMetricsMissing" {
            eventually("no metrics are missing", || {
                let missing = monitored.prometheus.query(expression)?;
                if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
            });
            monitored.exporters.clear();
        }
        monitored.wait(alert, expression);
    }
    // Prometheus evaluates the rules as they are.
    let rules: Value = serde_json::from_str(&monitored.prometheus.get("/api/v1/rules").unwrap()).unwrap();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), alerts.len());
    for rule in rules {
        assert_eq!((&rule["health"], &rule["lastError"]), (&json!("ok"), &json!(null)), "{rule}");
    }
}
