-- 0.2.0: copies of a database hold the tasks that came along, and dumps can be restored by several
-- jobs.

set local search_path = pg_catalog, pg_temp;

do $$
begin
    if exists (
        select 1
        from pg_catalog.pg_proc p
        join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) p.pronamespace
        where n.nspname operator(pg_catalog.=) 'internal'
            and p.proname operator(pg_catalog.=) 'queue_origin'
    ) then
        raise exception 'function internal.queue_origin already exists'
            using errcode = 'duplicate_function',
                  detail = 'pg_errand brings this function.',
                  hint = 'Rename or drop it first.';
    end if;
end;
$$;

-- Which database this is. A task carries the origin of the database that it was enqueued in, and is
-- run only there: a copy of a database (restored, made from a template, replicated, started from a
-- base backup) is another one, and holds the tasks that came along until queues.adopt().
create table queues.home (
    -- what tasks that are enqueued here carry
    origin bigint not null,
    -- The row counts in this server (pg_control_system()),
    system bigint not null,
    -- in this database,
    database oid not null,
    -- and in this data directory; 0 unless that was made by a base backup.
    directory bigint not null
);

comment on table queues.home is 'Which database this is; tasks of another one are held';

-- A copy of a database that publishes all its tables has to change it, too.
alter table queues.home replica identity full;

-- Where this session is: the last three columns of queues.home.
create function queues.place(out system bigint, out database oid, out directory bigint)
returns setof record
language c
as 'MODULE_PATHNAME', 'place_wrapper';

-- New with each CREATE EXTENSION. It is not dumped: what is restored comes from elsewhere.
insert into queues.home (origin, system, database, directory)
select hashtextextended(gen_random_uuid()::text, 0), place.system, place.database, place.directory
from queues.place() place;

-- What tasks that are enqueued here carry. Defaults and views call functions with the rights of whoever
-- uses the table or view, so this one is open.
create function internal.queue_origin()
returns bigint
stable
language c
as 'MODULE_PATHNAME', 'queue_origin_wrapper';

-- The same for the functions of this schema, which run as the extension's owner: what is in "internal" is
-- whatever the owner of that schema has put there.
create function queues.here()
returns bigint
stable
language c
as 'MODULE_PATHNAME', 'queue_origin_wrapper';

-- Tasks that are there belong here: a constant default fills them without a rewrite of the table.
do $$
begin
    execute format('alter table queues.task add column origin bigint not null default %s', internal.queue_origin());
end;
$$;

alter table queues.task alter column origin set default internal.queue_origin();

comment on column queues.task.origin is 'The database that it was enqueued in, see queues.home';

drop index queues.task_ready;

-- What may be started, in order.
create index task_ready on queues.task (origin, scheduled_at, task_id)
    where finished_at is null and not calling;

-- Hands out the next ready task with a lease: one row, all null when nothing is ready. With
-- pg_errand.lease_duration = 0 the task counts as finished by that.
create or replace function queues.dequeue_next_available_task(
    out task_id bigint,
    out task_type text,
    out payload jsonb,
    out enqueued_at timestamptz,
    out scheduled_at timestamptz,
    out dequeued_at timestamptz
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    _lease interval := coalesce(current_setting('pg_errand.lease_duration', true), '5min')::interval;
    _leased_until timestamptz := clock_timestamp() + _lease;
    _here bigint := queues.here();
begin
    update queues.task t
    set dequeued_at = clock_timestamp(),
        attempts = t.attempts + 1,
        leased = true,
        held_until = case when _lease > '0' then _leased_until end,
        finished_at = case when _lease = '0' then clock_timestamp() end,
        final_status = case when _lease = '0' then 'succeeded' end
    from (
        select r.task_id
        from queues.task r
        where r.origin = _here
            and r.finished_at is null
            and not r.calling
            and r.scheduled_at <= clock_timestamp()
            and (r.held_until is null or r.held_until <= clock_timestamp())
        order by r.scheduled_at, r.task_id
        limit 1
        for no key update skip locked
    ) ready
    where t.task_id = ready.task_id
    returning t.task_id, t.task_type, t.payload, t.enqueued_at, t.scheduled_at, t.dequeued_at
    into task_id, task_type, payload, enqueued_at, scheduled_at, dequeued_at;

    if found and _lease > '0' then
        perform queues.announce(_leased_until);
    end if;
end;
$$;

alter table queues.error drop constraint error_task_id_fkey;

alter table queues.call drop constraint call_task_id_fkey;

-- What follows when tasks are removed: their errors stay, without them; their calls go. Triggers, not
-- foreign keys: pg_restore --jobs loads the tables in any order, and the keys of an extension's
-- tables are there before their rows.
create function queues.task_after_delete()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update queues.error e
    set task_id = null
    from gone
    where e.task_id = gone.task_id;

    delete from queues.call c
    using gone
    where c.task_id = gone.task_id;

    return null;
end;
$$;

create trigger task_after_delete
    after delete on queues.task
    referencing old table as gone
    for each statement
    execute function queues.task_after_delete();

-- Forgets runs that ended with their worker: their numbers may be given to other tasks.
create function queues.forget_runs()
returns void
language c
as 'MODULE_PATHNAME', 'forget_runs_wrapper';

create function queues.task_after_truncate()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update queues.error
    set task_id = null
    where task_id is not null;

    delete from queues.call;

    perform queues.forget_runs();
    return null;
end;
$$;

create trigger task_after_truncate
    after truncate on queues.task
    for each statement
    execute function queues.task_after_truncate();

-- Records an error, of a task or (null) of none in particular. A task that counts as finished only
-- because it was handed out without a lease has failed by that.
create or replace function queues.append_error(task_id bigint, error_message text)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    _task queues.task;
begin
    -- Reading first and changing then would deadlock with REINDEX.
    lock table queues.task in row exclusive mode;

    select *
    into _task
    from queues.task t
    where t.task_id = append_error.task_id
    for key share;

    insert into queues.error (task_id, error_message, task_type, attempt)
    values (_task.task_id, coalesce(append_error.error_message, ''), _task.task_type, _task.attempts);

    update queues.task t
    set final_status = 'failed'
    where t.task_id = append_error.task_id
        and t.final_status = 'succeeded'
        and t.leased;

    return '{"success": true}';
end;
$$;

-- Has the commit take over calls whose worker is gone.
create function queues.announce_orphans()
returns void
language c
as 'MODULE_PATHNAME', 'announce_orphans_wrapper';

-- Makes the tasks that came from another database this one's own, so that they are run here. Returns
-- how many. To be called when the original will not run them any more.
create function queues.adopt()
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _here bigint := queues.here();
    _adopted bigint;
begin
    update queues.task
    set origin = _here
    where finished_at is null
        and origin <> _here;
    get diagnostics _adopted = row_count;

    perform queues.announce(clock_timestamp());
    perform queues.announce_orphans();
    return _adopted;
end;
$$;

-- A row per task with its status as of now.
create or replace view queues.task_status as
with workers as materialized (
    select w.owner, w.task_id, w.busy_since, w.recent, w.runs
    from internal.worker_state() w
),
-- The workers are asked after the snapshot was taken: a task that they have had since, and that the
-- snapshot shows as unfinished, was running.
running as (
    select r.task_id, max(r.busy_since) as busy_since, max(r.runs) as runs
    from (
        select w.task_id, w.busy_since, w.runs
        from workers w
        union all
        select unnest(w.recent), null, 1
        from workers w
    ) r
    group by r.task_id
)
select
    t.task_id,
    t.task_type,
    case
        when t.finished_at is not null then t.final_status
        when running.task_id is not null then 'running'
        when t.calling and calling.task_id is not null then 'running'
        when t.leased and t.held_until > clock_timestamp() then 'running'
        when t.scheduled_at > clock_timestamp() then 'scheduled'
        else 'ready'
    end as status,
    t.attempts + case when t.calling then 0 else coalesce(running.runs, 0) end as attempts,
    t.enqueued_at,
    t.scheduled_at,
    coalesce(running.busy_since, t.dequeued_at) as started_at,
    t.finished_at,
    (
        select e.error_message
        from queues.error e
        where e.task_id = t.task_id
        order by e.error_id desc
        limit 1
    ) as last_error,
    t.outcome,
    -- It came from another database, and waits for queues.adopt().
    t.finished_at is null and t.origin <> (select internal.queue_origin()) as held
from queues.task t
left join running on running.task_id = t.task_id
    and t.finished_at is null
    and t.origin = (select internal.queue_origin())
left join (
    select c.task_id
    from queues.call c
    join workers w on w.owner = c.owner
    where c.request is not null
) calling on calling.task_id = t.task_id and t.calling;

-- Tasks that came from another database with a copy of it, and are not run here until
-- queues.adopt(): a row for each database they came from.
create view queues.held as
select
    t.origin,
    count(*) as tasks,
    min(t.enqueued_at) as first_enqueued_at,
    max(t.enqueued_at) as last_enqueued_at,
    min(t.scheduled_at) as first_scheduled_at
from queues.task t
where t.finished_at is null
    and t.origin <> (select internal.queue_origin())
group by t.origin;

comment on view queues.held is 'Tasks that came from another database and wait for queues.adopt(), by where they came from';

-- Calls function_name(payload) with the caller's rights. The name is an optionally qualified,
-- optionally quoted identifier; it is resolved as such and never becomes SQL text of its own.
create or replace function internal.run_function(function_name text, payload jsonb)
returns jsonb
language plpgsql
security invoker
as $$
declare
    _name pg_catalog.text;
    _result pg_catalog.jsonb;
begin
    select pg_catalog.string_agg(pg_catalog.quote_ident(part), '.' order by position)
    into _name
    from pg_catalog.unnest(pg_catalog.parse_ident(function_name)) with ordinality as parts (part, position);

    execute 'select ' operator(pg_catalog.||) _name operator(pg_catalog.||) '($1)::pg_catalog.jsonb'
    into _result
    using coalesce(payload, '{}');

    return coalesce(_result, '{}');
end;
$$;

revoke all on function queues.task_after_delete() from public;
revoke all on function queues.task_after_truncate() from public;
revoke all on function queues.forget_runs() from public;
revoke all on function queues.place() from public;
revoke all on function queues.here() from public;
grant execute on function internal.queue_origin(), internal.worker_state() to public;
revoke all on function queues.announce_orphans() from public;
revoke all on function queues.adopt() from public;
