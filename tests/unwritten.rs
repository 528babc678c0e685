//! Users' triggers and rules that suppress or revert what the extension writes: no effect is committed without the end
//! of its task, no request is sent that is not stored, and the caller gets an error.

use postgres::Client;
use postgres::error::SqlState;
use serde_json::json;

use crate::harness::cluster::Cluster;
use crate::harness::handlers::{create_database, done, install, one, run_one, task};
use crate::harness::mailing::Mailing;
use crate::harness::queue::{errors, status, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

const STAY: [(&str, &str); 3] =
    [("pg_errand.concurrency", "1"), ("pg_errand.max_idle_time", "0"), ("pg_errand.poll_interval", "100ms")];

/// Handlers whose runs are counted whatever becomes of them, and trigger functions that concern poisoned tasks only.
const POISON: &str = "
    create sequence public.runs;
    create sequence public.refusals;
    grant usage on public.runs to public;
    create function public.counted(payload jsonb) returns jsonb language plpgsql as $$
    begin
        perform nextval('public.runs');
        return public.note(payload);
    end $$;
    create function public.on_error(payload jsonb) returns jsonb language plpgsql as $$
    begin
        return public.note(jsonb_build_object('label', 'told ' || (payload -> 'original_payload' ->> 'label')));
    end $$;
    create function public.unserializable(payload jsonb) returns jsonb language plpgsql as $$
    begin
        perform nextval('public.runs');
        raise serialization_failure;
    end $$;
    create function public.swallow() returns trigger language plpgsql security definer as $$
    begin
        if new.payload ? 'poison' then
            perform nextval('public.refusals');
            return null;
        end if;
        return new;
    end $$;
    create function public.reopen() returns trigger language plpgsql security definer as $$
    begin
        if new.payload ? 'poison' then
            new.finished_at := null;
        end if;
        return new;
    end $$;
    create function public.reopen_after() returns trigger language plpgsql security definer as $$
    begin
        if new.payload ? 'poison' and new.finished_at is not null then
            update queues.task set finished_at = null where task_id = new.task_id;
        end if;
        return null;
    end $$;
    create function public.swallow_any() returns trigger language plpgsql as $$ begin return null; end $$;";

const SWALLOW: &str =
    "create trigger mine before update on queues.task for each row execute function public.swallow()";

fn prepare(settings: &[(&str, &str)]) -> (Cluster, Client) {
    let cluster = Cluster::start(settings);
    let mut client = install(&cluster, "postgres");
    client.batch_execute(POISON).unwrap();
    (cluster, client)
}

#[track_caller]
fn poison(client: &mut Client, handler: &str) -> i64 {
    task(client, handler, json!({"poison": true, "label": "poison", "error_handler": "public.on_error"}))
}

#[test]
fn a_task_whose_end_is_left_out_or_undone_leaves_no_effect_and_its_error_says_by_what() {
    let (_cluster, mut client) = prepare(&STAY);
    let drop_trigger = "drop trigger mine on queues.task";
    for (apply, name, undo) in [
        (SWALLOW, "trigger \"mine\"", drop_trigger),
        ("create trigger mine before update on queues.task for each row when (new.final_status = 'succeeded')
            execute function public.swallow()", "trigger \"mine\"", drop_trigger),
        ("create rule mine as on update to queues.task where new.payload ? 'poison' do instead nothing",
            "rule \"mine\"", "drop rule mine on queues.task"),
        ("create trigger mine before update on queues.task for each row execute function public.reopen()",
            "trigger \"mine\"", drop_trigger),
        ("create trigger mine after update on queues.task for each row execute function public.reopen_after()",
            "trigger \"mine\"", drop_trigger),
        ("create constraint trigger mine after update on queues.task deferrable initially deferred
            for each row execute function public.reopen_after()", "trigger \"mine\"", drop_trigger),
    ] {
        client.batch_execute("truncate public.done").unwrap();
        client.batch_execute(apply).unwrap();
        let id = poison(&mut client, "counted");
        wait_status(&mut client, id, "failed");
        run_one(&mut client, "other");
        assert_eq!(done(&mut client), ["told poison", "other"], "{apply}");
        let [error] = &errors(&mut client, id)[..] else { panic!("{apply}: {:?}", errors(&mut client, id)) };
        let message = &error.error_message;
        assert!(message.contains(name) && message.contains("queues.task"), "{message}");
        client.batch_execute(undo).unwrap();
    }
    assert_eq!(one::<i64>(&mut client, "select last_value from public.runs"), 6);
    let sqlstates = "select string_agg(distinct sqlstate, ' ') from queues.error";
    assert_eq!(one::<String>(&mut client, sqlstates), "27000");
}

#[test]
fn a_task_whose_end_is_always_left_out_is_run_once_told_once_and_left_alone() {
    let (cluster, mut client) = prepare(&[("pg_errand.concurrency", "2"), STAY[1], STAY[2]]);
    client.batch_execute(SWALLOW).unwrap();
    client.batch_execute("alter table queues.task enable always trigger mine").unwrap();
    let mark = cluster.log_mark();
    let id = poison(&mut client, "counted");
    let told = eventually("the error is recorded", || {
        let errors = errors(&mut client, id);
        if errors.len() == 1 { Ok(errors) } else { Err(errors) }
    });
    assert!(told[0].error_message.contains("trigger \"mine\""), "{told:?}");
    // It is tried again, and others run.
    let refusals: i64 = one(&mut client, "select last_value from public.refusals");
    eventually("its end is tried again", || {
        run_one(&mut client, "other");
        one::<i64>(&mut client, "select last_value from public.refusals") > refusals + 1
    });
    assert_eq!(one::<i64>(&mut client, "select last_value from public.runs"), 1);
    assert_eq!(errors(&mut client, id), told);
    let logged = cluster.log_since(mark);
    assert_eq!(logged.matches("trigger \\\"mine\\\"").count(), 1, "{logged}");
    assert!(!done(&mut client).iter().any(|label| label.contains("poison")));
    client.batch_execute("drop trigger mine on queues.task").unwrap();
    wait_status(&mut client, id, "succeeded");
    wait_until_sql(&mut client, "select count(*) from public.done where label = 'poison'", "1");
}

#[test]
fn repetitions_are_bounded_and_cancels_count_whatever_a_trigger_leaves_out() {
    let (_cluster, mut client) = prepare(&STAY);
    client.batch_execute(SWALLOW).unwrap();
    let id = poison(&mut client, "unserializable");
    wait_status(&mut client, id, "failed");
    assert_eq!(one::<i64>(&mut client, "select last_value from public.runs"), 10);
    let id = poison(&mut client, "linger");
    wait_status(&mut client, id, "running");
    assert!(one::<bool>(&mut client, &format!("select queues.cancel({id})")));
    wait_status(&mut client, id, "cancelled");
}

#[test]
fn an_error_is_recorded_although_a_trigger_leaves_errors_out() {
    let (_cluster, mut client) = prepare(&STAY);
    for apply in [
        "create trigger mine before insert on queues.error for each row execute function public.swallow_any()",
        "drop trigger mine on queues.error; create rule mine as on insert to queues.error do instead nothing",
    ] {
        client.batch_execute(apply).unwrap();
        let id = task(&mut client, "refuse", json!({"label": "x"}));
        wait_status(&mut client, id, "failed");
        assert_eq!(errors(&mut client, id).len(), 1, "{apply}");
    }
}

/// The message of a statement's error, which is that a row was not written.
#[track_caller]
fn refusal(client: &mut Client, sql: &str) -> String {
    let error = client.batch_execute(sql).expect_err(sql);
    let error = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error:?}"));
    assert_eq!(*error.code(), SqlState::TRIGGERED_DATA_CHANGE_VIOLATION, "{sql}: {error:?}");
    assert!(error.hint().is_some(), "{sql}: {error:?}");
    error.message().to_owned()
}

#[test]
fn a_function_whose_row_a_trigger_leaves_out_or_changes_back_fails_and_names_it() {
    let (_cluster, mut client) = prepare(&[("pg_errand.concurrency", "0")]);
    let id = poison(&mut client, "note");
    let foreign = poison(&mut client, "note");
    client.batch_execute(&format!("update queues.task set origin = 1 where task_id = {foreign}")).unwrap();
    let calls = |id: i64| {
        [
            "select queues.dequeue_next_available_task()".to_owned(),
            format!("select queues.complete_task({id})"),
            format!("select queues.fail_task({id}, 'no')"),
            format!("select queues.cancel({id})"),
        ]
    };
    for apply in [
        SWALLOW,
        "create trigger mine before update on queues.task for each row execute function public.reopen()",
        "create rule mine as on update to queues.task do instead nothing",
    ] {
        let held_back = apply.contains("reopen");
        client.batch_execute(apply).unwrap();
        for sql in calls(id).iter().skip(usize::from(held_back || apply.contains("rule"))) {
            assert!(refusal(&mut client, sql).contains("\"mine\""), "{apply}: {sql}");
        }
        if apply == SWALLOW {
            assert!(refusal(&mut client, "select queues.adopt()").contains("\"mine\""));
        }
        assert_eq!(status(&mut client, id), "ready");
        client
            .batch_execute(
                "drop trigger if exists mine on queues.task; drop rule if exists mine on queues.task",
            )
            .unwrap();
    }
    assert_eq!(one::<i64>(&mut client, "select count(*) from queues.error"), 0);
    client
        .batch_execute(
            "create trigger mine before insert on queues.task for each row execute function public.swallow()",
        )
        .unwrap();
    let sql = "select queues.enqueue('db_function', '{\"poison\": 1}')";
    assert!(refusal(&mut client, sql).contains("trigger \"mine\""));
    client
        .batch_execute("create trigger mine before insert on queues.error for each row execute function public.swallow_any()")
        .unwrap();
    assert!(refusal(&mut client, "select queues.append_error(null, 'x')").contains("\"queues.error\""));
}

/// Trigger functions of tables that mails are stored in.
const MAILS: &str = "
    create function app.swallow() returns trigger language plpgsql as $$ begin return null; end $$;
    create function app.other_key() returns trigger language plpgsql as $$
    begin
        new.idempotency_key := gen_random_uuid();
        return new;
    end $$;";

#[test]
fn a_request_whose_call_is_not_stored_as_it_is_is_not_sent() {
    let mut mailing = Mailing::start(&STAY);
    mailing.client.batch_execute(MAILS).unwrap();
    for (table, how) in [
        ("call", "before insert on queues.call for each row execute function app.swallow()"),
        ("call", "before insert on queues.call for each row execute function app.other_key()"),
        (
            "task",
            "before update on queues.task for each row when (new.calling) execute function app.swallow()",
        ),
    ] {
        mailing.client.batch_execute(&format!("create trigger mine {how}")).unwrap();
        let id = mailing.send("a@mail.test");
        let message = mailing.error(id);
        assert!(message.contains("trigger \"mine\"") && message.contains(table), "{message}");
        mailing.client.batch_execute(&format!("drop trigger mine on queues.{table}")).unwrap();
    }
    mailing.client.batch_execute("create rule mine as on insert to queues.call do instead nothing").unwrap();
    let id = mailing.send("a@mail.test");
    assert!(mailing.error(id).contains("rule \"mine\""));
    assert_eq!(mailing.number("select count(*) from queues.call"), 0);
    mailing.client.batch_execute("drop rule mine on queues.call").unwrap();
    mailing.deliver("b@mail.test");
    mailing.wait_requests(1);
    assert_eq!(mailing.seen("error").len(), 4);
}

#[test]
fn a_mail_is_sent_once_although_what_becomes_of_its_call_is_left_out() {
    let mut mailing = Mailing::start(&STAY);
    mailing.client.batch_execute(MAILS).unwrap();
    mailing
        .client
        .batch_execute("update queues.provider set batch_size = 100 where name = 'resend'")
        .unwrap();
    for (n, (apply, undo)) in [
        (
            "create trigger mine before update on queues.call for each row execute function app.swallow()",
            "drop trigger mine on queues.call",
        ),
        ("create rule mine as on update to queues.call do instead nothing", "drop rule mine on queues.call"),
    ]
    .into_iter()
    .enumerate()
    {
        mailing.client.batch_execute(apply).unwrap();
        mailing.client.batch_execute("begin").unwrap();
        let ids = [mailing.send("a@mail.test"), mailing.send("b@mail.test")];
        mailing.client.batch_execute("commit").unwrap();
        ids.into_iter().for_each(|id| mailing.wait(id, "succeeded"));
        let open = "select count(*) from queues.call where request is not null or responded_at is null";
        assert_eq!(mailing.number(open), 0, "{apply}");
        assert_eq!(mailing.standin.mails().len(), 2 * (n + 1), "{apply}");
        mailing.client.batch_execute(undo).unwrap();
    }
}

#[test]
fn what_becomes_of_a_mail_is_not_handled_twice_although_its_end_is_left_out() {
    let mut mailing = Mailing::start(&STAY);
    mailing.client.batch_execute(MAILS).unwrap();
    for always in [false, true] {
        mailing
            .client
            .batch_execute(
                "create trigger mine before update on queues.task for each row when (new.finished_at is not null)
                 execute function app.swallow()",
            )
            .unwrap();
        if always {
            mailing.client.batch_execute("alter table queues.task enable always trigger mine").unwrap();
        }
        let id = mailing.send("a@mail.test");
        wait_until_sql(
            &mut mailing.client,
            &format!("select count(*) from queues.error where task_id = {id}"),
            "1",
        );
        if always {
            mailing.client.batch_execute("drop trigger mine on queues.task").unwrap();
        }
        mailing.wait(id, "succeeded");
        assert!(errors(&mut mailing.client, id)[0].error_message.contains("trigger \"mine\""));
        assert!(mailing.seen("success").is_empty());
        mailing.client.batch_execute("drop trigger if exists mine on queues.task").unwrap();
    }
    assert_eq!(mailing.standin.mails().len(), 2);
}

#[test]
fn a_copy_settles_although_a_trigger_leaves_that_out() {
    let cluster = Cluster::start(&STAY);
    let mut original = create_database(&cluster, "original");
    let trigger = "create function public.swallow_any() returns trigger language plpgsql as $$ begin return null; end $$;
        create trigger mine before update on errand.home for each row execute function public.swallow_any()";
    original.batch_execute(trigger).unwrap();
    run_one(&mut original, "in the original");
    drop(original);
    cluster.connect("postgres").batch_execute("create database copy template original").unwrap();
    let mut copy = cluster.connect("copy");
    run_one(&mut copy, "in the copy");
    let settled = "select count(*) from errand.home where database = (select oid from pg_database where datname = 'copy')";
    assert_eq!(one::<i64>(&mut copy, settled), 1);
}
