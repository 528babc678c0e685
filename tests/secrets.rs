//! Secrets are shown in no setting, view, table, error or log line.

use std::fs::OpenOptions;
use std::io::Write;

use postgres::{Client, Error};
use serde_json::json;
use standin::{Behaviour, Options, Standin};

use crate::harness::cluster::Cluster;
use crate::harness::mailing::{Mailing, mail, prepare, send, task};
use crate::harness::queue;
use crate::harness::wait::eventually;

const FIRST: &str = "re_first_Zx9yW8vU";
const SECOND: &str = "re_second_Qk3mN7pL";
/// What must be found nowhere: both keys have it in common with nothing else.
const SECRETS: [&str; 2] = ["Zx9yW8vU", "Qk3mN7pL"];

#[track_caller]
fn assert_hidden(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{what} shows a secret: {text}");
    }
}

/// All that an error says.
fn all_of(error: &Error) -> String {
    format!("{error} {error:?}")
}

/// Everything of these tables and views, as text.
#[track_caller]
fn contents(client: &mut Client, relations: &[&str]) -> String {
    let mut text = String::new();
    for relation in relations {
        let sql = format!("select coalesce(string_agg(r::text, E'\\n'), '') from {relation} r");
        let rows: String =
            client.query_one(&sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0);
        text += &rows;
        text += "\n";
    }
    text
}

/// A cluster whose workers use the first key, from the configuration file, and the stand-in, which takes both.
fn start() -> Mailing {
    let keys = vec![FIRST.to_owned(), SECOND.to_owned(), "re_quo\"ted\\_Qk3mN7pL".to_owned()];
    let standin = Standin::start(Options { keys, ..Options::default() }).unwrap();
    let cluster = Cluster::start(&[
        ("pg_errand.resend_base_url", &standin.url()),
        ("pg_errand.resend_api_key", FIRST),
        ("pg_errand.log_level", "debug"),
        ("pg_errand.call_timeout", "2s"),
        ("log_min_messages", "debug1"),
    ]);
    let mut client = cluster.connect("postgres");
    prepare(&mut client);
    Mailing { client, cluster, standin }
}

/// Waits until requests come with this key.
#[track_caller]
fn wait_for_key(mailing: &mut Mailing, key: &str) {
    let wanted = format!("Bearer {key}");
    eventually("the key is used", || {
        let task_id = mailing.send("someone@mail.test");
        eventually("the task ends", || {
            ["succeeded", "failed"].contains(&queue::status(&mut mailing.client, task_id).as_str())
        });
        mailing
            .standin
            .requests()
            .last()
            .is_some_and(|exchange| exchange.request.header("Authorization") == Some(&*wanted))
    });
}

#[test]
fn a_key_is_found_in_no_setting_whoever_looks() {
    let mut mailing = start();
    mailing
        .client
        .batch_execute(
            "create role app login; create role watcher login in role pg_monitor, pg_read_all_settings, pg_read_all_stats",
        )
        .unwrap();
    mailing.deliver("someone@mail.test");
    for role in ["postgres", "watcher", "app", "errand_worker"] {
        // The workers' role may log in up to 16 only.
        let mut client = mailing.cluster.connect("postgres");
        client.batch_execute(&format!("set session authorization {role}")).unwrap();
        for sql in [
            "show pg_errand.resend_api_key",
            "show all",
            "select current_setting('pg_errand.resend_api_key')",
            "select current_setting('pg_errand.resend_api_key', true)",
            "select s::text from pg_settings s",
            "select s::text from pg_show_all_settings() s",
            "select s::text from pg_db_role_setting s",
            "select s::text from pg_stat_activity s",
            "select s::text from pg_stat_get_activity(null) s",
        ] {
            match client.simple_query(sql) {
                Ok(rows) => assert_hidden(&format!("{role}: {sql}"), &format!("{rows:?}")),
                Err(error) => assert_hidden(&format!("{role}: {sql}"), &all_of(&error)),
            }
        }
        if role != "postgres" {
            for sql in ["select * from pg_file_settings", "select * from pg_hba_file_rules"] {
                assert!(client.simple_query(sql).is_err(), "{role}: {sql}");
            }
        }
    }
    // Ordinary roles don't even see that there is one.
    let mut app = mailing.cluster.connect_as("app", "postgres");
    let error = app.simple_query("show pg_errand.resend_api_key").unwrap_err();
    assert_eq!(error.code(), Some(&postgres::error::SqlState::INSUFFICIENT_PRIVILEGE));
    let error = app.batch_execute("set pg_errand.resend_api_key = 're_mine'").unwrap_err();
    assert_eq!(error.code(), Some(&postgres::error::SqlState::INSUFFICIENT_PRIVILEGE));
    // A superuser who sets one for a session doesn't read it back.
    mailing.client.batch_execute(&format!("set pg_errand.resend_api_key = '{SECOND}'")).unwrap();
    let shown = mailing.client.simple_query("show pg_errand.resend_api_key").unwrap();
    assert_hidden("show after set", &format!("{shown:?}"));
    let sql = format!("select set_config('pg_errand.resend_api_key', '{SECOND}', false)");
    let shown = mailing.client.simple_query(&sql).unwrap();
    assert_hidden("set_config", &format!("{shown:?}"));
}

#[test]
fn a_key_is_found_in_no_log_line_table_or_view_whatever_happens() {
    let mut mailing = start();
    mailing.deliver("someone@mail.test");
    // Changed by ALTER SYSTEM, by the file, and taken away.
    mailing.cluster.set(&[("pg_errand.resend_api_key", SECOND)]);
    wait_for_key(&mut mailing, SECOND);
    mailing.cluster.set(&[("pg_errand.resend_api_key", FIRST)]);
    wait_for_key(&mut mailing, FIRST);

    // The provider echoes it, in every kind of answer.
    mailing.standin.behave(|submission| {
        let sent = submission.request.header("Authorization").unwrap_or_default();
        let key = sent.trim_start_matches("Bearer ");
        match submission.to()[0] {
            "echo@mail.test" => Some(Behaviour::echo_authorization(submission.request)),
            "echo-html@mail.test" => Some(Behaviour::html(500, &format!("<p>{sent}</p>"))),
            "echo-200@mail.test" => Some(Behaviour::json(200, &json!({"id": sent}))),
            "echo-name@mail.test" => Some(Behaviour::error(422, key, key)),
            "echo-field@mail.test" => Some(Behaviour::json(200, &json!({"id": 1, (key): key}))),
            "echo-garbage@mail.test" => Some(Behaviour::raw(format!("{sent}\r\n\r\n"), standin::End::Close)),
            "echo-header@mail.test" => {
                Some(Behaviour::json(302, &json!({})).header("Location", &format!("/{key}")))
            }
            "never@mail.test" => Some(Behaviour::never()),
            _ => None,
        }
    });
    for (to, status) in [
        ("echo@mail.test", "failed"),
        ("echo-html@mail.test", "failed"),
        ("echo-200@mail.test", "succeeded"),
        ("echo-name@mail.test", "failed"),
        ("echo-field@mail.test", "succeeded"),
        ("echo-garbage@mail.test", "failed"),
        ("echo-header@mail.test", "failed"),
        ("never@mail.test", "failed"),
        ("not-an-address", "failed"),
    ] {
        let task_id = mailing.send(to);
        mailing.wait(task_id, status);
    }
    // While a call is in flight.
    mailing.standin.hold();
    let task_id = mailing.send("someone@mail.test");
    mailing.wait_held(1);
    let relations = [
        "queues.task",
        "queues.error",
        "queues.call",
        "queues.task_status",
        "queues.worker",
        "app.seen",
        "pg_stat_activity",
        "pg_settings",
        "pg_db_role_setting",
    ];
    assert_hidden("while a call is in flight", &contents(&mut mailing.client, &relations));
    mailing.standin.release();
    mailing.wait(task_id, "succeeded");
    assert_hidden("the tables", &contents(&mut mailing.client, &relations));
    assert_hidden("the log", &mailing.cluster.log());

    // The worker dies with one, the server restarts with one.
    let pid = queue::workers(&mut mailing.client)[0].pid;
    mailing.cluster.crash(pid, libc::SIGKILL);
    mailing.client = mailing.cluster.connect("postgres");
    mailing.deliver("someone@mail.test");
    mailing.cluster.set(&[("pg_errand.resend_api_key", "")]);
    assert_hidden("the log", &mailing.cluster.log());
}

#[test]
fn a_key_with_characters_that_json_escapes_is_hidden_too() {
    let mut mailing = start();
    let key = "re_quo\"ted\\_Qk3mN7pL";
    mailing.cluster.set(&[("pg_errand.resend_api_key", key)]);
    wait_for_key(&mut mailing, key);
    mailing.standin.behave(|submission| {
        let sent = submission.request.header("Authorization").unwrap_or_default();
        match submission.to()[0] {
            "echo@mail.test" => Some(Behaviour::echo_authorization(submission.request)),
            "echo-200@mail.test" => Some(Behaviour::json(200, &json!({"id": sent}))),
            _ => None,
        }
    });
    let refused = mailing.send("echo@mail.test");
    mailing.wait(refused, "failed");
    mailing.deliver("echo-200@mail.test");
    let relations = ["queues.error", "queues.call", "app.seen"];
    assert_hidden("an echo", &contents(&mut mailing.client, &relations));
    assert_hidden("the log", &mailing.cluster.log());
}

#[test]
fn a_key_that_is_no_header_is_refused_without_being_shown() {
    let mut mailing = start();
    let sql = format!("alter system set pg_errand.resend_api_key = E'{SECOND}\\nX-Evil: 1'");
    let error = mailing.client.batch_execute(&sql).unwrap_err();
    assert_hidden("the refusal", &all_of(&error));
    // By the file: logged without it, and the old one stays.
    let mark = mailing.cluster.log_mark();
    let path = mailing.cluster.data_dir().join("postgresql.conf");
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    writeln!(file, "pg_errand.resend_api_key = '{SECOND}\tX'").unwrap();
    drop(file);
    mailing.cluster.kill(mailing.cluster.postmaster_pid(), libc::SIGHUP);
    mailing.cluster.wait_log(mark, "secret");
    assert_hidden("the log", &mailing.cluster.log_since(mark));
    mailing.deliver("someone@mail.test");
}

#[test]
fn a_key_cannot_be_stored_where_everybody_reads_it() {
    let mut mailing = start();
    mailing.client.batch_execute("create role app login").unwrap();
    for sql in [
        "alter database postgres set pg_errand.resend_api_key = 're_x'",
        "alter role app set pg_errand.resend_api_key = 're_x'",
        "alter role all set pg_errand.resend_api_key = 're_x'",
        "alter role app in database postgres set pg_errand.resend_api_key = 're_x'",
        "alter database postgres set pg_errand.resend_api_key from current",
        "create function app.f() returns int language sql set pg_errand.resend_api_key = 're_x' as 'select 1'",
        "create function app.f() returns int language sql set pg_errand.resend_api_key from current as 'select 1'",
        "alter function app.build(jsonb) set pg_errand.resend_api_key = 're_x'",
    ] {
        let error = mailing.client.batch_execute(sql).expect_err(sql);
        let refusal = error.as_db_error().unwrap();
        let hint = refusal.hint().unwrap_or_default();
        assert!(hint.contains("ALTER SYSTEM"), "{sql}: {refusal:?}");
        assert!(!refusal.message().contains("re_x"), "{sql}: {refusal:?}");
    }
    assert_eq!(mailing.number("select count(*) from pg_db_role_setting"), 0);
    assert_eq!(
        mailing.number("select count(*) from pg_proc where proconfig::text like '%resend_api_key%'"),
        0
    );
    // Other settings of this kind may be stored there.
    mailing.client.batch_execute("alter database postgres set pg_errand.call_timeout = '3s'").unwrap();
}

#[test]
fn a_handler_cannot_read_the_key() {
    let mut mailing = start();
    mailing
        .client
        .batch_execute(
            "create function app.reads(_payload jsonb) returns jsonb language sql as $$
                select jsonb_build_object('key', current_setting('pg_errand.resend_api_key'))
            $$;
            create function app.reads_as_owner(_payload jsonb) returns jsonb language sql security definer as $$
                select app.reads(_payload)
            $$;",
        )
        .unwrap();
    let read = |name: &str| json!({"task_type": "db_function", "db_function": name, "success_handler": "app.on_success"});
    let task_id = queue::enqueue(&mut mailing.client, "db_function", read("app.reads"));
    mailing.error(task_id);
    let task_id = queue::enqueue(&mut mailing.client, "db_function", read("app.reads_as_owner"));
    mailing.wait(task_id, "succeeded");
    // Nor when it is read between a before_handler and its provider.
    let mut payload = task(&mail("someone@mail.test"));
    payload["success_handler"] = json!("app.reads_as_owner");
    let task_id = queue::enqueue(&mut mailing.client, "email", payload);
    mailing.wait(task_id, "succeeded");
    assert_hidden("the traces", &contents(&mut mailing.client, &["app.seen", "queues.error", "queues.call"]));
    send(&mut mailing.client, "someone@mail.test");
}
