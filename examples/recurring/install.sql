-- Recurring work: what is in recurring.schedule is enqueued again and again. Installs all of it or nothing:
--
--     psql -d app -f examples/recurring/install.sql
--
-- Run it as a superuser (it creates the role recurring_owner), after `create extension pg_errand`.

\set ON_ERROR_STOP on
\set QUIET on

begin;

-- the role the workers run as
select coalesce(nullif(current_setting('pg_errand.role', true), ''), 'errand_worker') as worker_role
\gset

do $$
begin
    -- owns all objects of the example, and cannot log in
    if not exists (select 1 from pg_catalog.pg_roles where rolname = 'recurring_owner') then
        create role recurring_owner nologin;
    end if;
end
$$;

grant usage on schema queues to recurring_owner;
grant execute on function queues.enqueue to recurring_owner;
grant select on queues.task_status to recurring_owner;
create schema recurring authorization recurring_owner;
grant usage on schema recurring to :"worker_role";

set local role recurring_owner;

-- Tick number n of a schedule is due at first_at + n * every. A tick enqueues the work and the next tick.
create table recurring.schedule (
    schedule_name text primary key,
    every interval not null check (every >= '1 second'),
    first_at timestamptz not null,
    task_type text not null,
    payload jsonb not null,
    -- the number of the next tick
    tick_number bigint not null default 0,
    tick_task_id bigint
);

-- fact: when a tick is due
create function recurring.due_at(_schedule recurring.schedule)
returns timestamptz
language sql
stable
as $$
    select _schedule.first_at + _schedule.every * _schedule.tick_number;
$$;

-- effect: enqueues the next tick according to the row
create function recurring.enqueue_tick(_schedule_name text)
returns void
language sql
as $$
    update recurring.schedule s
    set tick_task_id = queues.enqueue(
        'db_function',
        jsonb_build_object(
            'task_type', 'db_function',
            'db_function', 'recurring.tick',
            'error_handler', 'recurring.tick_failed',
            'schedule_name', s.schedule_name,
            'due_at', recurring.due_at(s)
        ),
        recurring.due_at(s)
    )
    where s.schedule_name = _schedule_name;
$$;

-- effect: enqueues the first tick that is not due yet; missed ticks are left out
create function recurring.enqueue_next_tick(_schedule_name text)
returns void
language plpgsql
as $$
declare
    _schedule recurring.schedule;
begin
    select * into strict _schedule from recurring.schedule where schedule_name = _schedule_name;
    if extract(year from _schedule.every) = 0 and extract(month from _schedule.every) = 0 then
        -- The number is computed, since first_at may be long ago. It is reduced by two, since days differ in length.
        _schedule.tick_number := greatest(
            _schedule.tick_number,
            floor(extract(epoch from clock_timestamp() - _schedule.first_at) / extract(epoch from _schedule.every))::bigint - 2
        );
    end if;
    loop
        _schedule.tick_number := _schedule.tick_number + 1;
        exit when recurring.due_at(_schedule) > clock_timestamp();
    end loop;
    update recurring.schedule set tick_number = _schedule.tick_number where schedule_name = _schedule_name;
    perform recurring.enqueue_tick(_schedule_name);
end;
$$;

-- lock: the schedule whose tick this payload is, if it is due and has not run yet
create function recurring.lock_due(_payload jsonb)
returns setof recurring.schedule
language sql
as $$
    select s.*
    from recurring.schedule s
    where s.schedule_name = _payload ->> 'schedule_name'
      and recurring.due_at(s) = (_payload ->> 'due_at')::timestamptz
      and recurring.due_at(s) <= clock_timestamp()
    for no key update;
$$;

-- The guard: starts schedules again whose tick has ended without a successor (cancelled, removed, failed together with
-- its error handler). Returns how many. Each tick does this for the others.
create function recurring.resume()
returns integer
language plpgsql
as $$
declare
    _schedule recurring.schedule;
    _resumed integer := 0;
begin
    for _schedule in
        select s.*
        from recurring.schedule s
        where not exists (
            select 1
            from queues.task_status t
            where t.task_id = s.tick_task_id
              and t.status in ('scheduled', 'ready', 'running')
        )
        for no key update skip locked
    loop
        perform recurring.enqueue_tick(_schedule.schedule_name);
        _resumed := _resumed + 1;
    end loop;
    return _resumed;
end;
$$;

-- db_function: enqueues the work, then the next tick. The work is a task of its own, so that its failure ends nothing else.
create function recurring.tick(_payload jsonb)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _schedule recurring.schedule;
begin
    select * into _schedule from recurring.lock_due(_payload);
    if not found then
        return '{}';
    end if;

    perform queues.enqueue(_schedule.task_type, _schedule.payload);
    perform recurring.enqueue_next_tick(_schedule.schedule_name);
    perform recurring.resume();
    return '{"status": "succeeded"}';
end;
$$;

-- error_handler: a tick that raised an error has enqueued nothing, so the next one is enqueued here
create function recurring.tick_failed(_payload jsonb)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _schedule recurring.schedule;
begin
    select * into _schedule from recurring.lock_due(_payload -> 'original_payload');
    if found then
        perform recurring.enqueue_next_tick(_schedule.schedule_name);
    end if;
    return '{"status": "succeeded"}';
end;
$$;

-- Starts a schedule, or replaces the one of this name. Without _first_at the first tick is due now.
create function recurring.start(
    _schedule_name text,
    _every interval,
    _task_type text,
    _payload jsonb,
    _first_at timestamptz default now()
)
returns void
language plpgsql
as $$
begin
    insert into recurring.schedule (schedule_name, every, first_at, task_type, payload)
    values (_schedule_name, _every, _first_at, _task_type, _payload)
    on conflict (schedule_name) do update
    set every = excluded.every,
        first_at = excluded.first_at,
        task_type = excluded.task_type,
        payload = excluded.payload,
        tick_number = 0;
    perform recurring.enqueue_tick(_schedule_name);
end;
$$;

-- Ends a schedule; its waiting tick finds no row and does nothing.
create function recurring.stop(_schedule_name text)
returns boolean
language sql
as $$
    with stopped as (
        delete from recurring.schedule where schedule_name = _schedule_name returning 1
    )
    select exists (select 1 from stopped);
$$;

revoke all on all functions in schema recurring from public;
grant execute on function recurring.tick(jsonb), recurring.tick_failed(jsonb) to :"worker_role";

commit;

\echo 'recurring is installed. Next: select recurring.start(...), see docs/supervisors.md.'
