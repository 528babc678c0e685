//! Code of users that follows our tables: it runs with nobody's rights but those of whoever writes.

use serde_json::json;

use super::{Attack, NO_RIGHT, state};
use crate::harness::queue::{enqueue, wait_status};
use crate::harness::wait::{eventually, wait_until_sql};

/// `mallory` may do with every table whatever can be granted, and call every function.
const MALLORY: &str = "
    create role mallory login;
    create schema hers authorization mallory;
    grant usage on schema queues, internal to mallory;
    grant all on all tables in schema queues to mallory;
    grant all on all sequences in schema queues to mallory;
    grant execute on all functions in schema queues to mallory;
";

/// Tables of hers that refer to each table of ours that has a key, for every action of a foreign key, with
/// triggers of every kind.
const FOLLOWERS: &str = "
    create function hers.caught() returns trigger language plpgsql as $$
    begin
        perform app.catch(format('%s %s %s of %s', tg_when, tg_op, tg_level, tg_table_name));
        return case when tg_op = 'DELETE' then old else new end;
    end $$;
    do $$
    declare
        _key record;
        _action text;
        _timing text;
        _level text;
        _name text;
    begin
        for _key in
            select
                c.conrelid::regclass as place,
                r.relname,
                string_agg(format('key%s %s default null', k.n, a.atttypid::regtype), ', ' order by k.n) as columns,
                string_agg('key' || k.n, ', ' order by k.n) as names
            from pg_constraint c
            join pg_class r on r.oid = c.conrelid
            cross join unnest(c.conkey) with ordinality as k (number, n)
            join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.number
            where c.connamespace = 'queues'::regnamespace and c.contype = 'p'
            group by c.oid, r.relname
        loop
            foreach _action in array array['cascade', 'set null', 'set default'] loop
                _name := format('%s_%s', _key.relname, replace(_action, ' ', '_'));
                execute format(
                    'create table hers.%I (number int generated always as identity, %s,
                         foreign key (%s) references %s on delete %s on update %s)',
                    _name, _key.columns, _key.names, _key.place, _action, _action
                );
                foreach _timing in array array['before', 'after'] loop
                    foreach _level in array array['row', 'statement'] loop
                        execute format(
                            'create trigger %I %s insert or update or delete on hers.%I for each %s
                                 execute function hers.caught()',
                            _timing || _level, _timing, _name, _level
                        );
                    end loop;
                end loop;
                execute format(
                    'create constraint trigger deferred after insert or update or delete on hers.%I
                         initially deferred for each row execute function hers.caught()',
                    _name
                );
            end loop;
        end loop;
    end $$;
";

/// Rows that follow all there are.
const FOLLOW: &str = "
    do $$
    declare
        _follower record;
    begin
        for _follower in
            select
                c.conrelid::regclass as place,
                c.confrelid::regclass as followed,
                string_agg('key' || k.n, ', ' order by k.n) as names,
                string_agg(quote_ident(a.attname), ', ' order by k.n) as columns
            from pg_constraint c
            cross join unnest(c.confkey) with ordinality as k (number, n)
            join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.number
            where c.contype = 'f' and c.connamespace = 'hers'::regnamespace
            group by c.oid
        loop
            execute format(
                'insert into %s (%s) select %s from %s',
                _follower.place, _follower.names, _follower.columns, _follower.followed
            );
        end loop;
    end $$;
";

/// Tasks that have ended long ago, each with an error and a call.
const ENDED: &str = "
    with old as (
        insert into queues.task (task_type, payload, enqueued_at, finished_at, final_status)
        select 'db_function', '{}', now() - interval '1 day', now() - interval '1 day', 'succeeded'
        from generate_series(1, 4)
        returning task_id
    ), failed as (
        insert into queues.error (task_id, error_message, created_at)
        select task_id, 'x', now() - interval '1 day' from old
    )
    insert into queues.call (task_id, owner, provider, idempotency_key)
    select task_id, 1, 'simulated', gen_random_uuid() from old
";

fn start() -> Attack {
    let mut attack = Attack::start(&[("pg_errand.concurrency", "0"), ("pg_errand.retention", "1h")]);
    attack.create(MALLORY);
    attack
}

#[test]
fn only_the_owner_of_the_extension_makes_triggers_of_its_tables() {
    let mut attack = start();
    let mut mallory = attack.cluster.connect_as("mallory", "postgres");
    mallory
        .batch_execute(
            "create function hers.fired() returns trigger language plpgsql as 'begin return null; end'",
        )
        .unwrap();
    let tables = attack.text(
        "select string_agg(oid::regclass::text, ' ') from pg_class
         where relnamespace = 'queues'::regnamespace and relkind in ('r', 'v')",
    );
    assert!(tables.contains("queues.provider"), "{tables}");
    for table in tables.split(' ') {
        for statement in [
            "create trigger t before insert or update or delete on {} for each row execute function hers.fired()",
            "create trigger t after insert or update or delete on {} for each row execute function hers.fired()",
            "create trigger t before insert or update or delete on {} for each statement execute function hers.fired()",
            "create trigger t after insert or update or delete on {} for each statement execute function hers.fired()",
            "create trigger t before truncate on {} for each statement execute function hers.fired()",
            "create trigger t instead of insert on {} for each row execute function hers.fired()",
            // Its condition would be enough.
            "create trigger t before update on {} for each row when (query_to_xml('select 1', true, true, '') is not null)
                 execute function suppress_redundant_updates_trigger()",
            "create constraint trigger t after insert on {} deferrable initially deferred for each row execute function hers.fired()",
            "create rule r as on update to {} do also select 1",
            "create policy p on {} using (true)",
            "alter table {} add column more int default 1",
            "alter table {} add check (true)",
            "create index on {} ((1))",
            "alter table {} disable trigger all",
        ] {
            let sql = statement.replace("{}", table);
            let error = mallory.batch_execute(&sql).expect_err(&sql);
            let expected = if state(&error) == NO_RIGHT { true } else { matches!(&*state(&error), "42809") };
            assert!(expected, "{sql}: {error:?}");
        }
    }
    assert_eq!(attack.text("select count(*) from pg_trigger where tgname = 't'"), "0");
    // PostgreSQL checks a foreign key as the owner of the table that it refers to.
    mallory
        .batch_execute(
            "create type hers.kind as enum ('a');
             create function hers.cast_it(hers.kind) returns bigint language sql as 'select 1::bigint';
             create cast (hers.kind as bigint) with function hers.cast_it(hers.kind) as implicit;
             create table hers.plain (id bigint references queues.task)",
        )
        .unwrap();
    // Without such a key, no actions of foreign keys follow its rows.
    let refers = "create table hers.paused (a text, b text, foreign key (a, b) references queues.paused_key (task_type, queue_key))";
    let error = mallory.batch_execute(refers).expect_err(refers);
    assert_eq!(state(&error), "42830", "{error:?}");
    for sql in [
        "create table hers.cast_key (id hers.kind references queues.task)",
        "alter table hers.plain alter column id type hers.kind using 'a'",
    ] {
        let error = mallory.batch_execute(sql).expect_err(sql);
        assert_eq!(state(&error), NO_RIGHT, "{sql}: {error:?}");
    }
    // Her own tables are hers, and so are their foreign keys.
    mallory.batch_execute(FOLLOWERS).unwrap();
    // The owner may.
    attack.create(
        "create trigger t before update on queues.error for each row execute function suppress_redundant_updates_trigger()",
    );
}

#[test]
fn code_that_follows_our_tables_never_runs_as_the_extensions_owner() {
    let mut attack = start();
    attack.create(
        "create function app.fails(payload jsonb) returns jsonb language plpgsql as 'begin raise exception ''as asked''; end';
         create function app.builds(payload jsonb) returns jsonb language sql as
             $$ select '{\"payload\": {\"message_id\": \"m\", \"to_number\": \"+1\", \"body\": \"b\"}}'::jsonb $$",
    );
    attack.create(ENDED);
    let mut mallory = attack.cluster.connect_as("mallory", "postgres");
    mallory.batch_execute(FOLLOWERS).unwrap();
    mallory.batch_execute(FOLLOW).unwrap();

    // Only a superuser's word makes a row built in, and so replaces one.
    for insert in [
        "insert into queues.task_definition (task_type, processor, built_in) values ('db_function', 'db_function', true)",
        "insert into queues.provider (name, interface, built_in) values ('simulated', 'simulated', true)",
    ] {
        let error = mallory.batch_execute(insert).expect_err(insert);
        assert_eq!(state(&error), "23505", "{insert}: {error:?}");
    }
    mallory
        .batch_execute(
            "update queues.task_definition set built_in = true; update queues.provider set trusted = true, built_in = true;
             select queues.grant_enqueue('http', 'mallory'); select queues.revoke_enqueue('http', 'mallory');
             select queues.enqueue('db_function', '{\"db_function\": \"app.nothing\"}') from generate_series(1, 5);
             select queues.complete_task(task_id) from queues.dequeue_next_available_task();
             select queues.fail_task(task_id, 'x') from queues.dequeue_next_available_task();
             select queues.append_error(task_id, 'x') from queues.dequeue_next_available_task();
             select queues.cancel(max(task_id)) from queues.task where finished_at is null;
             select queues.adopt();
             select queues.run_next(task_id), queues.reschedule(task_id, now())
             from queues.task where finished_at is null and not leased;
             select queues.cancel_where(_older_than => '0');
             select queues.retry_failed();
             select queues.retry(max(task_id)) from queues.task where final_status = 'cancelled';
             select queues.purge('1 hour', 'succeeded', 1);
             select queues.pause_key('db_function', 'k', clock_timestamp() + interval '1 hour');
             select queues.pause_key('db_function', 'k', clock_timestamp() + interval '2 hours');
             select queues.resume_key('db_function', 'k');
             select queues.pause_key('db_function', 'over', clock_timestamp() + interval '10 ms');
             insert into queues.task_definition (task_type, processor) values ('more', 'db_function');
             insert into queues.provider (name, interface) values ('more', 'simulated');
             delete from queues.task_definition where task_type = 'more';
             delete from queues.provider where name = 'more'",
        )
        .unwrap();
    // What follows the calls of removed tasks.
    mallory
        .batch_execute("delete from queues.task where task_id = (select min(task_id) from queues.call)")
        .unwrap();
    mallory.batch_execute("copy queues.task (task_type, payload) from program 'echo'").unwrap_err();

    // Everything that workers write: ends, errors, calls, removals.
    mallory.batch_execute(FOLLOW).unwrap();
    attack.cluster.set(&[("pg_errand.concurrency", "1")]);
    let gone = "select count(*) from queues.task where finished_at < now() - interval '1 hour'";
    wait_until_sql(&mut attack.client, gone, "0");
    wait_until_sql(
        &mut attack.client,
        "select count(*) from queues.call where provider = 'simulated' and owner = 1",
        "0",
    );
    let called = enqueue(&mut attack.client, "sms", json!({"before_handler": "app.builds"}));
    wait_status(&mut attack.client, called, "succeeded");
    attack.task(json!({"db_function": "app.fails", "error_handler": "app.nothing"})).unwrap_err();

    attack.cluster.set(&[("pg_errand.concurrency", "0")]);
    eventually("the workers have gone", || attack.text("select count(*) from queues.worker") == "0");
    mallory.batch_execute(FOLLOW).unwrap();
    mallory.batch_execute("truncate queues.task cascade").unwrap();
    assert_eq!(attack.text("select count(*) from queues.call"), "0");
    assert_eq!(attack.text("select count(*) from queues.error where task_id is not null"), "0");

    let places = attack.text("select string_agg(distinct place || ' as ' || caught, ', ') from app.trap");
    for place in [
        "DELETE ROW of call_cascade as mallory",
        "DELETE ROW of call_cascade as errand_worker",
        "UPDATE ROW of task_set_null as errand_worker",
        "DELETE ROW of error_cascade as errand_worker",
    ] {
        assert!(places.contains(&format!("AFTER {place}")), "{place} is not in {places}");
    }
    let as_owner = "select string_agg(distinct t::text, ' ') from app.trap t where superuser <> 'off'";
    assert_eq!(attack.text(as_owner), "");
}
