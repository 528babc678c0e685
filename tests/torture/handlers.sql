-- What the tasks of the torture run. Whatever is done leaves a row, and nothing keeps it from leaving
-- two: the oracle counts.

create schema app;
grant usage on schema app to public;

-- a row per run of a task that was not undone; outside: by a worker outside the database
create table app.effect (label text not null, outside boolean not null default false, pid integer default pg_backend_pid());
-- a row per call of a success or error handler that was not undone
create table app.handled (label text not null, handler text not null, detail text);
create table app.bulk (label text not null, n integer not null);
create table app.single (k integer unique deferrable initially deferred);
insert into app.single values (1);
create table app.pair (id integer primary key, n bigint not null default 0);
insert into app.pair (id) select generate_series(0, 3);
grant select, insert, update on all tables in schema app to public;

create function app.work(payload jsonb) returns jsonb language plpgsql as $$
begin
    insert into app.effect (label) values (payload ->> 'label');
    return '{}';
end $$;

-- dropped and created again by a fault
create function app.fleeting(payload jsonb) returns jsonb language plpgsql as $$
begin
    return app.work(payload);
end $$;

create function app.raise(payload jsonb) returns jsonb language plpgsql as $$
begin
    perform app.work(payload);
    raise exception 'deliberate';
end $$;

create function app.return_error(payload jsonb) returns jsonb language sql as $$
    select '{"success": false, "error": "deliberate"}'::jsonb
$$;

create function app.decline(payload jsonb) returns jsonb language plpgsql as $$
begin
    perform app.work(payload);
    return '{"success": false}';
end $$;

create function app.stumble(payload jsonb) returns jsonb language plpgsql as $$
begin
    perform app.work(payload);
    if random() < 0.4 then
        raise exception 'stumbled' using errcode = 'serialization_failure';
    end if;
    return '{}';
end $$;

-- Two rows in either order, with a pause between: deadlocks.
create function app.tangle(payload jsonb) returns jsonb language plpgsql as $$
begin
    update app.pair set n = n + 1 where id = (payload ->> 'first')::integer;
    perform pg_sleep(0.02);
    update app.pair set n = n + 1 where id = (payload ->> 'second')::integer;
    return app.work(payload);
end $$;

create function app.clash(payload jsonb) returns jsonb language plpgsql as $$
begin
    perform app.work(payload);
    insert into app.single values (1);
    return '{}';
end $$;

create function app.nap(payload jsonb) returns jsonb language plpgsql as $$
begin
    perform pg_sleep((payload ->> 'seconds')::float8 / 2);
    perform app.work(payload);
    perform pg_sleep((payload ->> 'seconds')::float8 / 2);
    return '{}';
end $$;

create function app.write_much(payload jsonb) returns jsonb language plpgsql as $$
begin
    insert into app.bulk select payload ->> 'label', n from generate_series(1, 2000) n;
    return app.work(payload);
end $$;

-- Fails if anything of it is there when it runs a second time in the same process.
create function app.litter(payload jsonb) returns jsonb language plpgsql as $$
begin
    create temporary table litter (n integer);
    execute 'prepare litter as select 1';
    perform pg_advisory_lock(hashtext(payload ->> 'label'));
    perform set_config('search_path', 'nowhere', false);
    return app.work(payload);
end $$;

create function app.build_mail(payload jsonb) returns jsonb language sql as $$
    select jsonb_build_object('success', true, 'payload', jsonb_build_object(
        'message_id', 1, 'from_address', 'sender@mail.test', 'to_address', (payload ->> 'label') || '@mail.test',
        'subject', payload ->> 'label', 'html', '<p>' || (payload ->> 'label') || '</p>'))
$$;

create function app.build_message(payload jsonb) returns jsonb language sql as $$
    select jsonb_build_object('status', 'succeeded', 'payload', jsonb_build_object(
        'message_id', payload ->> 'label', 'to_number', '+491701234567', 'body', 'hello'))
$$;

create function app.on_success(payload jsonb) returns jsonb language plpgsql as $$
begin
    insert into app.handled (label, handler, detail)
    values (payload #>> '{original_payload,label}', 'success', payload #>> '{worker_payload,id}');
    return '{}';
end $$;

create function app.on_success_raise(payload jsonb) returns jsonb language plpgsql as $$
begin
    perform app.on_success(payload);
    raise exception 'deliberate';
end $$;

create function app.on_success_stumble(payload jsonb) returns jsonb language plpgsql as $$
begin
    perform app.on_success(payload);
    if random() < 0.4 then
        raise exception 'stumbled' using errcode = 'serialization_failure';
    end if;
    return '{}';
end $$;

create function app.on_error(payload jsonb) returns jsonb language plpgsql as $$
begin
    insert into app.handled (label, handler, detail)
    values (payload #>> '{original_payload,label}', 'error', payload ->> 'error');
    return '{}';
end $$;

-- Enqueues a task of its own, which is there if this one has succeeded, and only then.
create function app.supervise(payload jsonb) returns jsonb language plpgsql as $$
begin
    perform queues.enqueue(
        'db_function',
        jsonb_build_object('label', payload ->> 'next', 'db_function', 'app.work'),
        now() + (payload ->> 'delay')::float8 * interval '1 s');
    return app.work(payload);
end $$;

-- Ends its worker whenever it is run.
create function app.die(payload jsonb) returns jsonb language plpgsql as $$
begin
    perform app.work(payload);
    perform pg_terminate_backend(pg_backend_pid());
    perform pg_sleep(60);
    return '{}';
end $$;

create function app.on_success_die(payload jsonb) returns jsonb language plpgsql as $$
begin
    perform app.on_success(payload);
    return app.die(payload -> 'original_payload');
end $$;

-- Heeds no interruption for a while.
create function app.be_stubborn(payload jsonb) returns jsonb language plpgsql as $$
declare
    _end timestamptz := clock_timestamp() + interval '0.7 s';
begin
    while clock_timestamp() < _end loop
        begin
            perform pg_sleep(0.1);
        exception when query_canceled then
            null;
        end;
    end loop;
    return app.work(payload);
end $$;

-- Retention removes tasks, and the oracle wants to see them nevertheless.
create table app.gone_task (like queues.task);
create table app.gone_call (like queues.call);
create table app.every_error (task_id bigint, error_message text, handler text);

create function app.keep_task() returns trigger language plpgsql as $$
begin
    insert into app.gone_task select old.*;
    return old;
end $$;

create function app.keep_call() returns trigger language plpgsql as $$
begin
    insert into app.gone_call select old.*;
    return old;
end $$;

create function app.keep_error() returns trigger language plpgsql as $$
begin
    insert into app.every_error values (new.task_id, new.error_message, new.handler);
    return new;
end $$;

create trigger keep before delete on queues.task for each row execute function app.keep_task();
create trigger keep before delete on queues.call for each row execute function app.keep_call();
create trigger keep before insert on queues.error for each row execute function app.keep_error();

create view app.every_task as table queues.task union all table app.gone_task;
create view app.every_call as table queues.call union all table app.gone_call;
