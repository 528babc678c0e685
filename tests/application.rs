//! The example `comms`, as its users install and run it.

use postgres::Client;
use serde_json::json;
use standin::{Options, Standin};

use crate::harness::cluster::Cluster;
use crate::harness::mailing::KEY;
use crate::harness::queue;
use crate::harness::wait::{eventually, wait_until_sql};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/comms");
const DATABASE: &str = "app";

struct Application {
    client: Client,
    cluster: Cluster,
    standin: Standin,
}

/// The example, installed as its README says, with delays for the impatient.
#[track_caller]
fn install() -> Application {
    let standin = Standin::start(Options::default()).unwrap();
    let cluster =
        Cluster::start(&[("pg_errand.resend_api_key", KEY), ("pg_errand.resend_base_url", &standin.url())]);
    cluster.psql("postgres", &format!("create database {DATABASE}"));
    cluster.psql(DATABASE, "create extension pg_errand");
    cluster.psql(DATABASE, &format!("\\i '{EXAMPLE}/install.sql'"));
    let mut client = cluster.connect(DATABASE);
    client
        .batch_execute(
            "update comms.policy
             set max_attempts = 3, base_delay = '200 ms', max_delay = '1 minute', outcome_grace = '1 second'",
        )
        .unwrap();
    Application { client, cluster, standin }
}

impl Application {
    /// Calls a function of the application's interface as the application does.
    #[track_caller]
    fn call(&mut self, call: &str) -> i64 {
        let mut transaction = self.client.transaction().unwrap();
        transaction.batch_execute("set local role comms_app").unwrap();
        let id = transaction.query_one(&format!("select comms.{call}"), &[]).unwrap().get(0);
        transaction.commit().unwrap();
        id
    }

    /// Waits until a message has this state.
    #[track_caller]
    fn wait_state(&mut self, message_id: i64, expected: &str) {
        let sql = "select state, attempts, last_error from comms.delivery where message_id = $1";
        eventually(&format!("message {message_id} is {expected}"), || {
            let row = self.client.query_one(sql, &[&message_id]).unwrap();
            let (state, attempts, last_error): (String, i32, Option<String>) =
                (row.get(0), row.get(1), row.get(2));
            if state == expected { Ok(()) } else { Err((state, attempts, last_error)) }
        });
    }

    /// Waits until no task is waiting or running.
    #[track_caller]
    fn wait_quiet(&mut self) {
        let sql = "select count(*) from queues.task_status where status not in ('succeeded', 'failed')";
        wait_until_sql(&mut self.client, sql, "0");
    }

    fn text(&mut self, sql: &str) -> String {
        self.client.query_one(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }
}

#[test]
fn the_example_delivers_retries_and_gives_up() {
    let mut app = install();
    let hello = app.call("send_email('me@mail.test', 'you@mail.test', 'Hello', '<p>Hello</p>')");
    let later = app.call(
        "send_email('me@mail.test', 'you@mail.test', 'Later', '<p>Later</p>', now() + interval '2 seconds')",
    );
    let refused = app.call("send_email('me@mail.test', 'not-an-address', 'Nobody', '<p>Nobody</p>')");
    let sms = app.call("send_sms('+4915112345678', 'Hello')");
    let later_sms = app.call("send_sms('+4915112345679', 'Later', now() + interval '1 second')");

    app.wait_state(hello, "delivered");
    app.wait_state(sms, "delivered");
    app.wait_state(refused, "given_up");
    app.wait_state(later, "delivered");
    app.wait_state(later_sms, "delivered");
    app.wait_quiet();

    let mut subjects: Vec<_> = app.standin.mails().iter().map(|mail| mail.subject().to_owned()).collect();
    subjects.sort();
    assert_eq!(subjects, ["Hello", "Later"]);
    assert_eq!(
        app.standin.requests().len(),
        2 + 3,
        "a mail delivered is not sent again, a refused one 3 times"
    );

    let id = app.text(&format!("select provider_message_id from comms.delivery where message_id = {hello}"));
    assert!(app.standin.mails().iter().any(|mail| mail.id == id && mail.subject() == "Hello"));
    let id = app.text(&format!("select provider_message_id from comms.delivery where message_id = {sms}"));
    assert_eq!(id, format!("sms_{sms}"));
    let waited = format!(
        "select (delivered_at >= created_at + interval '2 seconds')::text from comms.delivery where message_id = {later}"
    );
    assert_eq!(app.text(&waited), "true");

    // Given up: after three attempts, each for the provider's reason, ever later, and none to come.
    let given_up = format!("from comms.delivery where message_id = {refused}");
    assert_eq!(app.text(&format!("select attempts::text {given_up}")), "3");
    let last_error = app.text(&format!("select last_error {given_up}"));
    assert!(last_error.contains("422") && last_error.contains("validation_error"), "{last_error}");
    assert_eq!(app.text(&format!("select (next_check_at is null)::text {given_up}")), "true");
    let gaps = app.text(
        "select jsonb_agg(gap >= interval '200 ms' * power(2, attempt - 1) order by attempt)::text
         from (
             select attempt, lead(created_at) over (order by attempt) - created_at as gap
             from comms.send_email_task_scheduled
             where send_email_task_id = (
                 select send_email_task_id from comms.send_email_task_scheduled where attempt = 3
             )
         ) gaps
         where gap is not null",
    );
    assert_eq!(gaps, "[true, true]");
    assert_eq!(app.text("select count(*)::text from comms.send_email_task_failed"), "3");
    assert_eq!(app.text("select count(*)::text from comms.send_email_task_succeeded"), "2");
    assert_eq!(app.text("select count(*)::text from comms.send_sms_task_succeeded"), "2");
    let failed = app.text(
        "select count(*)::text from queues.task_status where status = 'failed' and task_type = 'email'",
    );
    assert_eq!(failed, "3");
    let outcome =
        app.text("select string_agg(outcome, ',') from queues.task_status where outcome is not null");
    assert_eq!(outcome, "status given_up");
}

#[test]
fn the_example_s_other_tasks_end_as_it_says() {
    let mut app = install();
    let sms = app.call("send_sms('+4915112345678', 'Hello')");
    app.wait_state(sms, "delivered");
    let function = |name: &str| json!({"task_type": "db_function", "db_function": name});
    let mut run = |payload| queue::enqueue(&mut app.client, "db_function", payload);
    let report = run(function("comms.daily_report"));
    let resume = run(function("comms.resume_stalled"));
    let mut reconcile = function("comms.reconcile_invoice");
    reconcile["error_handler"] = json!("comms.record_incident");
    reconcile["channel"] = json!("sms");
    reconcile["invoiced"] = json!(1000);
    let reconcile = run(reconcile);
    let missing = run(function("comms.no_such_function"));
    let headless = queue::enqueue(&mut app.client, "email", json!({"task_type": "email"}));

    for (task_id, status) in [
        (report, "succeeded"),
        (resume, "succeeded"),
        (reconcile, "failed"),
        (missing, "failed"),
        (headless, "failed"),
    ] {
        queue::wait_status(&mut app.client, task_id, status);
    }
    assert_eq!(app.text("select delivered::text from comms.report where channel = 'sms'"), "1");
    let incident = app.text("select error_message from comms.incident");
    assert!(incident.contains("the invoice for channel \"sms\" does not match"), "{incident}");
    let errors = queue::errors(&mut app.client, reconcile);
    assert_eq!((errors.len(), &errors[0].error_message), (1, &incident));
    let kept = "select detail || ' / ' || hint from queues.error where task_id = ".to_owned()
        + &reconcile.to_string();
    assert!(app.text(&kept).contains("Invoiced: 1000. Delivered: 1."));
    assert!(queue::errors(&mut app.client, missing)[0].error_message.contains("comms.no_such_function"));
    assert!(queue::errors(&mut app.client, headless)[0].error_message.contains("before_handler"));
    // The page to look at works.
    let page = app.cluster.psql(DATABASE, &format!("\\i '{EXAMPLE}/show.sql'"));
    assert!(page.contains("delivered") && page.contains("comms.no_such_function"), "{page}");
}

#[test]
fn a_mail_of_the_example_is_sent_only_if_the_caller_commits_and_by_nobody_else() {
    let mut app = install();
    let mut transaction = app.client.transaction().unwrap();
    transaction.batch_execute("set local role comms_app").unwrap();
    let call = "select comms.send_email('me@mail.test', 'you@mail.test', 'Never', '<p>Never</p>')";
    transaction.query_one(call, &[]).unwrap();
    transaction.rollback().unwrap();
    let sent = app.call("send_email('me@mail.test', 'you@mail.test', 'Ever', '<p>Ever</p>')");
    app.wait_state(sent, "delivered");
    app.wait_quiet();
    let subjects: Vec<_> = app.standin.mails().iter().map(|mail| mail.subject().to_owned()).collect();
    assert_eq!(subjects, ["Ever"]);

    // The workers' role sends nothing on its own and reads nothing.
    // From 17 on it may not log in.
    let mut worker = app.cluster.connect(DATABASE);
    worker.batch_execute("set session authorization errand_worker").unwrap();
    for sql in
        [call, "select * from comms.message", "select * from comms.delivery", "select * from queues.task"]
    {
        let error = worker.query(sql, &[]).unwrap_err();
        assert_eq!(
            error.code(),
            Some(&postgres::error::SqlState::INSUFFICIENT_PRIVILEGE),
            "{sql}: {error:?}"
        );
    }
}

#[test]
fn the_example_s_mails_wait_out_a_provider_that_is_down() {
    let mut app = install();
    let address = app.standin.address();
    app.standin = Standin::start(Options::default()).unwrap();
    let sent = app.call("send_email('me@mail.test', 'you@mail.test', 'Patience', '<p>Patience</p>')");
    wait_until_sql(&mut app.client, "select (count(*) > 0)::text from comms.send_email_task_failed", "true");
    app.standin = Standin::start(Options { listen: address, ..Options::default() }).unwrap();
    app.wait_state(sent, "delivered");
    assert_eq!(app.standin.mails().len(), 1);
}

/// All that an error tells a client, except where in the server's sources it comes from.
fn told(client: &mut Client, sql: &str) -> String {
    let error = client.batch_execute(sql).expect_err(sql);
    let error = error.as_db_error().unwrap();
    format!(
        "{} {} detail={:?} hint={:?} context={:?} position={:?} {:?}.{:?}.{:?} {:?} {:?}",
        error.code().code(),
        error.message(),
        error.detail(),
        error.hint(),
        error.where_(),
        error.position(),
        error.schema(),
        error.table(),
        error.column(),
        error.datatype(),
        error.constraint(),
    )
}

#[test]
fn errors_of_utility_statements_are_the_same_with_the_library_preloaded() {
    let without = Cluster::start(&[("shared_preload_libraries", "")]);
    let with = Cluster::start(&[]);
    let mut plain = without.connect("postgres");
    let mut preloaded = with.connect("postgres");
    let setup = "
        create table t (i int constraint positive check (i > 0) unique);
        create view v as select * from t;
        create procedure p() language plpgsql as $$
        begin
            raise exception 'boom' using errcode = 'P0099', detail = 'd', hint = 'h', column = 'c', table = 't';
        end
        $$;";
    plain.batch_execute(setup).unwrap();
    preloaded.batch_execute(setup).unwrap();
    for sql in [
        "drop table t",
        "drop table no_such_table",
        "create table x (i no_such_type)",
        "do $$ begin insert into t values (1), (1); end $$",
        "do $$ begin insert into t values (0); end $$",
        "do $$ begin raise exception 'boom' using errcode = 'PT404'; end $$",
        "call p()",
        "alter table t alter i type boolean",
        "set work_mem = 'much'",
    ] {
        assert_eq!(told(&mut preloaded, sql), told(&mut plain, sql), "{sql}");
    }
    let caught = "do $$ begin call p(); exception when sqlstate 'P0099' then null; end $$";
    preloaded.batch_execute(caught).unwrap();
}

#[test]
fn an_error_keeps_the_sqlstate_its_function_gave_it() {
    let mut app = install();
    app.client
        .batch_execute(
            "create schema mine;
             grant usage on schema mine to public;
             create function mine.raises(_payload jsonb) returns jsonb language plpgsql as $$
             begin
                 raise exception 'boom' using errcode = _payload ->> 'code', detail = 'my detail', hint = 'my hint';
             end
             $$",
        )
        .unwrap();
    for code in ["P0099", "PT404", "23505", "22023", "P0001"] {
        let payload = json!({"task_type": "db_function", "db_function": "mine.raises", "code": code});
        let task_id = queue::enqueue(&mut app.client, "db_function", payload);
        queue::wait_status(&mut app.client, task_id, "failed");
        let sql = format!(
            "select concat_ws(',', sqlstate, detail, hint) from queues.error where task_id = {task_id}"
        );
        assert_eq!(app.text(&sql), format!("{code},my detail,my hint"));
    }
}
