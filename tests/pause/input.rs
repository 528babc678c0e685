//! What the functions refuse, and who may call them.

use postgres::Client;
use postgres::error::SqlState;

use super::start;
use crate::harness::handlers::one;

#[track_caller]
fn refusal(client: &mut Client, sql: &str) -> (SqlState, String, String) {
    let error = client.batch_execute(sql).unwrap_err();
    let error = error.as_db_error().unwrap();
    (error.code().clone(), error.message().to_owned(), error.hint().unwrap_or_default().to_owned())
}

#[test]
fn unknown_names_and_times_in_the_past_are_refused() {
    let (_cluster, mut client) = start();
    for (sql, message) in [
        ("select queues.pause('nothing')", "unknown task type \"nothing\""),
        ("select queues.resume('nothing')", "unknown task type \"nothing\""),
        ("select queues.pause('')", "unknown task type \"\""),
        ("select queues.pause_provider('nothing')", "unknown provider \"nothing\""),
        ("select queues.pause_provider(null)", "unknown provider \"\""),
        ("select queues.resume_provider(null)", "unknown provider \"\""),
        ("select queues.drain('-1 s')", "the timeout -00:00:01 is negative"),
    ] {
        let (code, said, hint) = refusal(&mut client, sql);
        assert_eq!((code, said.as_str()), (SqlState::INVALID_PARAMETER_VALUE, message), "{sql}");
        assert!(!hint.is_empty(), "{sql}");
    }
    let (code, said, hint) = refusal(&mut client, "select queues.pause(_until => '2000-01-01')");
    assert_eq!(code, SqlState::INVALID_PARAMETER_VALUE);
    assert!(said.contains("in the past") && hint.contains("_until"), "{said} {hint}");
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.paused"), 0);
}

#[test]
fn a_pause_is_replaced_and_told_in_the_log() {
    let (cluster, mut client) = start();
    client.batch_execute("create role ann superuser login; set session authorization ann").unwrap();
    assert!(one::<bool>(&mut client, "select queues.pause('one', _why => 'first')"));
    assert!(!one::<bool>(&mut client, "select queues.pause('one', 'infinity', 'second')"));
    let shown = "select concat_ws('|', task_type, provider is null, paused_until is null, reason, paused_by)
        from queues.paused";
    assert_eq!(one::<String>(&mut client, shown), "one|t|t|second|ann");
    assert!(one::<bool>(&mut client, "select queues.resume('one')"));
    let log = cluster.log();
    assert!(log.contains("pg_errand: role \"ann\" pauses task type \"one\": second"), "{log}");
    assert!(log.contains("pg_errand: role \"ann\" resumes task type \"one\""), "{log}");
    // A reason begins no line of the log.
    client.batch_execute("select queues.pause('one', _why => E'a\nWARNING:  b')").unwrap();
    assert!(cluster.log().contains("pauses task type \"one\": a WARNING:  b"), "{}", cluster.log());
}

#[test]
fn nobody_may_pause_without_a_grant() {
    let (_cluster, mut client) = start();
    client.batch_execute("create role ann; grant usage on schema queues to ann, errand_worker").unwrap();
    let calls =
        ["pause()", "pause('one')", "resume()", "pause_provider('x')", "resume_provider('x')", "drain()"];
    for role in ["ann", "errand_worker"] {
        client.batch_execute(&format!("set role {role}")).unwrap();
        for call in calls {
            let error = client.batch_execute(&format!("select queues.{call}")).unwrap_err();
            assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{role} {call}");
        }
        let error = client.batch_execute("insert into queues.paused default values").unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{role}");
        client.batch_execute("reset role").unwrap();
    }
    client
        .batch_execute("grant execute on function queues.pause, queues.resume to ann; set role ann")
        .unwrap();
    assert!(one::<bool>(&mut client, "select queues.pause()"));
    assert!(one::<bool>(&mut client, "select queues.resume()"));
}

#[test]
fn a_row_that_a_trigger_suppresses_is_an_error() {
    let (_cluster, mut client) = start();
    client
        .batch_execute(
            "create function public.nothing() returns trigger language plpgsql as 'begin return null; end';
             create trigger nothing before insert or delete on queues.paused
                 for each row execute function public.nothing();",
        )
        .unwrap();
    let (_, said, _) = refusal(&mut client, "select queues.pause()");
    assert!(said.contains("queues.paused"), "{said}");
}
