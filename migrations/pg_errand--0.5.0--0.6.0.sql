-- 0.5.0 to 0.6.0. What it makes of an installed 0.5.0 has to be what sql/ installs, see tests/upgrade.rs.

set local search_path = pg_catalog, pg_temp;

-- Priorities and unique keys.
alter table queues.task
    add column priority smallint,
    add column unique_key text,
    add column follows bigint;

drop index queues.task_ready;

-- Plain tasks that may be claimed, in their order.
create index task_ready on queues.task (origin, scheduled_at, task_id)
    where finished_at is null and not calling and priority is null;

-- Prioritized tasks that may be claimed, in the order of each priority.
create index task_prioritized on queues.task (origin, priority, scheduled_at, task_id)
    where finished_at is null and not calling and priority is not null;

-- At most one unfinished task of each key and type, and one that follows it. Finished tasks are in it, too, since a
-- second index would make every insert slower: they are distinct by their id.
create unique index task_unique
    on queues.task (
        unique_key,
        task_type,
        origin,
        (case when finished_at is not null then task_id end),
        follows
    ) nulls not distinct
    where unique_key is not null;

drop trigger task_before_update on queues.task;

create trigger task_before_update
    before update of task_type, payload, scheduled_at, origin, priority, unique_key on queues.task
    for each row
    execute function errand.task_before_write();

alter table queues.task enable always trigger task_before_update;

-- queues.enqueue gets more arguments. Who may execute it keeps this privilege, and may also enqueue many tasks at once.
do $$
begin
    perform set_config(
        'errand_upgrade.grants',
        coalesce(
            (
                select jsonb_agg(
                    format(
                        'to %s%s',
                        case when a.grantee = 0 then 'public' else a.grantee::regrole::text end,
                        case when a.is_grantable then ' with grant option' end
                    )
                    order by a.place
                )::text
                from pg_proc p
                cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner)))
                    with ordinality a (grantor, grantee, privilege_type, is_grantable, place)
                where p.oid = 'queues.enqueue(text, jsonb, timestamptz)'::regprocedure
                    and a.grantee <> p.proowner
            ),
            '[]'
        ),
        true
    );
end;
$$;

drop function queues.enqueue(text, jsonb, timestamptz);


-- Lets a role enqueue tasks of a type. A notice names the privileges that the role still lacks.
create or replace function queues.grant_enqueue(_task_type text, _role regrole)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _name name := (select r.rolname from pg_catalog.pg_roles r where r.oid = _role);
    _missing text;
begin
    if _name is null then
        raise exception 'cannot grant tasks of type "%" to a role that does not exist', _task_type
            using errcode = 'undefined_object',
                  hint = 'Name a role that exists; to_regrole() is null for others.';
    end if;

    update only queues.task_definition d
    set granted_to = array(
        select g.grantee
        from unnest(d.granted_to) as g (grantee)
        where g.grantee::text <> _name
        union all
        select _name::text::queues.grantee
    )
    where d.task_type = _task_type;
    if not found then
        raise exception 'unknown task type "%"', _task_type
            using errcode = 'invalid_parameter_value',
                  hint = 'Known task types are the rows of queues.task_definition.';
    end if;

    -- The role needs these privileges, too. Only the owner of the extension may grant them.
    select string_agg(format('GRANT %s TO %I;', n.privilege, _name), ' ' order by n.place)
    into _missing
    from (
        select 1, 'USAGE ON SCHEMA queues'
        where not has_schema_privilege(_role, 'queues', 'usage')
        union all
        select 2, format('EXECUTE ON FUNCTION %s', string_agg(f.name, ', ' order by f.place))
        from (
            values
                (1, 'queues.enqueue', true),
                (2, 'queues.http_post', _task_type = 'http'),
                (3, 'queues.http_get', _task_type = 'http'),
                (4, 'queues.result', _task_type = 'http')
        ) as f (place, name, needed)
        where f.needed
            and not has_function_privilege(_role, f.name::regproc, 'execute')
        having count(*) > 0
    ) as n (place, privilege);
    if _missing is not null then
        raise notice 'role "%" lacks privileges for tasks of type "%"', _name, _task_type
            using hint = format('Run: %s', _missing);
    end if;
end;
$$;

-- Enqueues a task and returns its id. A worker starts the task when this transaction commits, or at _scheduled_at if
-- that is later. Raises an error if the task type is unknown or not granted to the caller, see queues.grant_enqueue.
-- The row is written with the privileges of the owner of the extension.
--
-- While there is an unfinished task of this type with the same _unique_key, no other one is enqueued. Its id is returned,
-- and _if_exists says what happens: keep (nothing), replace (payload, time and priority are replaced), debounce (the
-- same, but at most _debounce_limit after the task was first enqueued), error. If that task is running, replace and
-- debounce enqueue another one, which starts after it. With _unique_for, tasks that succeeded or failed count, too, if
-- they were enqueued within that time.
create function queues.enqueue(
    _task_type text,
    _payload jsonb,
    _scheduled_at timestamptz default now(),
    _unique_key text default null,
    _if_exists text default 'keep',
    _unique_for interval default null,
    _debounce_limit interval default null,
    _priority integer default 0
)
returns bigint
language c
as 'MODULE_PATHNAME', 'enqueue_wrapper';

-- Enqueues many tasks and returns their ids, in order. _tasks is an array of objects whose keys are the names of the
-- arguments of queues.enqueue, with or without the leading underscore.
create function queues.enqueue_many(_tasks jsonb)
returns setof bigint
language c
as 'MODULE_PATHNAME', 'enqueue_many_wrapper';

-- Enqueues a task of one type for each payload and returns their ids, in order. The other arrays have a value for each
-- payload, or are null.
create function queues.enqueue_many(
    _task_type text,
    _payloads jsonb[],
    _scheduled_at timestamptz[] default null,
    _unique_keys text[] default null,
    _if_exists text default 'keep',
    _unique_for interval default null,
    _debounce_limit interval default null,
    _priority integer default 0
)
returns setof bigint
language c
as 'MODULE_PATHNAME', 'enqueue_payloads_wrapper';

-- Lets the commit announce that a task may start which follows this one, if the task has a unique key.
create function errand.announce_follower(_task_id bigint)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $$
    select errand.announce(clock_timestamp())
    from only queues.task t
    where t.task_id = _task_id
        and t.unique_key is not null;
$$;

-- Locks the next task of these types that is ready at _now: the first one of the highest priority. All are null if there
-- is none.
create function errand.lock_next_ready(
    _task_types text[],
    _now timestamptz,
    out task_id bigint,
    out task_type text,
    out was_leased boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    _here bigint := errand.queue_origin();
    _priority integer := 32768;
    _below integer;
begin
    -- Each priority in use is found by one search in the index. Plain tasks have priority 0.
    loop
        _below := (
            select max(r.priority)
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority is not null
                and r.priority < _priority
        );
        _priority := case when _priority > 0 then greatest(_below, 0) else _below end;
        exit when _priority is null;

        if _priority = 0 then
            select r.task_id, r.task_type, r.leased
            into task_id, task_type, was_leased
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority is null
                and r.task_type = any (_task_types)
                and r.scheduled_at <= _now
                and (r.not_before is null or r.not_before <= _now)
                -- A task that follows another one with its unique key starts after that one's end.
                and not exists (
                    select 1
                    from only queues.task p
                    where p.task_id = r.follows
                        and p.finished_at is null
                )
            order by r.scheduled_at, r.task_id
            limit 1
            for no key update skip locked;
        else
            select r.task_id, r.task_type, r.leased
            into task_id, task_type, was_leased
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority = _priority
                and r.task_type = any (_task_types)
                and r.scheduled_at <= _now
                and (r.not_before is null or r.not_before <= _now)
                and not exists (
                    select 1
                    from only queues.task p
                    where p.task_id = r.follows
                        and p.finished_at is null
                )
            order by r.scheduled_at, r.task_id
            limit 1
            for no key update skip locked;
        end if;
        exit when found;
    end loop;
end;
$$;

-- Dequeues the next ready task of these types, the first one of the highest priority, with a lease. Returns one row, with
-- nulls if no task is ready. By default the types are db_function, email and sms, which every worker outside supports.
-- With pg_errand.lease_duration = 0 the task has succeeded as soon as it is dequeued.
create or replace function queues.dequeue_next_available_task(
    _task_types text[] default null,
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
    _now timestamptz;
    _leased_until timestamptz;
    _next bigint;
    _type text;
    _was_leased boolean;
    _unknown text;
begin
    if _task_types is not null then
        select min(wanted.name)
        into _unknown
        from unnest(_task_types) as wanted (name)
        where not exists (select 1 from only queues.task_definition d where d.task_type = wanted.name);
        if _unknown is not null then
            raise exception 'unknown task type "%"', _unknown
                using errcode = 'invalid_parameter_value',
                      hint = 'Known task types are the rows of queues.task_definition.';
        end if;
    end if;

    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;
    -- A volatile function in the condition would not end the index scan at the first task of the future.
    _now := clock_timestamp();

    select n.task_id, n.task_type, n.was_leased
    into _next, _type, _was_leased
    from errand.lock_next_ready(coalesce(_task_types, '{db_function,email,sms}'), _now) n;
    if _next is null then
        return;
    end if;

    -- The lease starts now, after any wait for locks.
    _now := clock_timestamp();
    _leased_until := _now + _lease;

    update only queues.task t
    set dequeued_at = _now,
        attempts = least(t.attempts, 2147483646) + 1,
        leased = true,
        not_before = case when _lease > '0' then _leased_until end,
        finished_at = case when _lease = '0' then _now end,
        final_status = case when _lease = '0' then 'succeeded' end
    where t.task_id = _next
    returning t.task_id, t.task_type, t.payload, t.enqueued_at, t.scheduled_at, t.dequeued_at
    into task_id, task_type, payload, enqueued_at, scheduled_at, dequeued_at;

    -- A trigger or rule may have suppressed the update; then the task would be handed out again.
    if exists (
        select 1
        from only queues.task t
        where t.task_id = _next
            and t.finished_at is null
            and coalesce(t.not_before, '-infinity') < least(_leased_until, clock_timestamp())
    ) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    if _lease > '0' then
        perform errand.announce(_leased_until);
    else
        perform errand.announce_follower(task_id);
    end if;
    if _was_leased then
        perform errand.tell_of_ended_lease(_next);
    end if;
end;
$$;

-- Ends a task, unless it has ended or is between the steps of a provider call.
create or replace function errand.end_task(_task_id bigint, _status text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    update only queues.task
    set finished_at = clock_timestamp(),
        final_status = _status,
        leased = false,
        not_before = null
    where task_id = _task_id
        and finished_at is null
        and not calling;

    if exists (
        select 1
        from only queues.task t
        where t.task_id = _task_id
            and t.finished_at is null
            and not t.calling
    ) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    perform errand.announce_follower(_task_id);
end;
$$;

-- Cancels a task. A waiting task never runs, unless the caller rolls back. A running task is interrupted immediately,
-- even if its handler catches all errors, and no further handler is invoked; the provider may have received a request
-- that is in flight. Returns false if the task has ended or does not exist.
create or replace function queues.cancel(_task_id bigint)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _finished boolean;
    _calling boolean;
    _owner bigint;
    _told boolean;
begin
    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    loop
        select t.finished_at is not null, t.calling, c.owner
        into _finished, _calling, _owner
        from only queues.task t
        left join only queues.call c on c.task_id = t.task_id
        where t.task_id = _task_id;

        if not found or _finished then
            return false;
        end if;

        if errand.cancel_running(_task_id) then
            return true;
        end if;

        if _calling then
            -- The row of the call may have been deleted.
            _told := case when _owner is null then false else errand.cancel_call(_owner, _task_id) end;
            if _told then
                -- The task may have ended just before.
                return exists (
                    select 1
                    from only queues.task t
                    where t.task_id = _task_id
                        and (t.finished_at is null or t.final_status = 'cancelled')
                );
            end if;
            if _told is null then
                perform pg_sleep(0.002);
                continue;
            end if;
        end if;

        -- If its row can be locked, no worker runs the task.
        perform 1
        from only queues.task t
        where t.task_id = _task_id
            and t.finished_at is null
            and t.calling = _calling
        for no key update skip locked;

        if found then
            update only queues.task
            set finished_at = clock_timestamp(),
                final_status = 'cancelled',
                calling = false,
                leased = false,
                not_before = null
            where task_id = _task_id;
            if exists (select 1 from only queues.task t where t.task_id = _task_id and t.finished_at is null) then
                perform errand.refuse_unwritten('queues.task');
            end if;

            update only queues.call
            set request = null
            where task_id = _task_id;
            if exists (select 1 from only queues.call c where c.task_id = _task_id and c.request is not null) then
                perform errand.refuse_unwritten('queues.call');
            end if;
            perform errand.announce_follower(_task_id);
            return true;
        end if;

        -- The task is just starting or ending, or another session has locked its row.
        perform pg_sleep(0.002);
    end loop;
end;
$$;

-- Adopts the unadopted tasks, which then run in this database, and returns their number. It is meant for the case that
-- the original database will not run them any more.
create or replace function queues.adopt()
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _here bigint := errand.queue_origin();
    _unadopted bigint;
    _adopted bigint;
begin
    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    select count(*)
    into _unadopted
    from (
        select 1
        from only queues.task t
        where t.finished_at is null
            and t.origin <> _here
        for no key update
    ) t;

    -- There may be an unfinished task of the same unique key here already. Both run, but only one keeps the key.
    update only queues.task t
    set unique_key = null
    where t.finished_at is null
        and t.origin <> _here
        and t.unique_key is not null
        and exists (
            select 1
            from only queues.task o
            where o.unique_key = t.unique_key
                and o.task_type = t.task_type
                and o.finished_at is null
                and (o.origin = _here or o.origin < t.origin)
        );

    with adopted as (
        update only queues.task
        set origin = _here
        where finished_at is null
            and origin <> _here
        returning origin
    )
    select count(*)
    into _adopted
    from adopted a
    where a.origin = _here;

    if _adopted < _unadopted then
        perform errand.refuse_unwritten('queues.task');
    end if;

    perform errand.announce(clock_timestamp());
    perform errand.announce_orphans();
    return _adopted;
end;
$$;

-- The live worker processes of this database.
create or replace view queues.worker as
select
    w.pid,
    w.worker_number,
    w.state,
    w.task_id,
    w.task_type,
    w.handler,
    w.busy_since,
    w.in_flight,
    w.succeeded,
    w.failed,
    w.started_at,
    (
        select coalesce(t.priority, 0::smallint)
        from only queues.task t
        where t.task_id = w.task_id
    ) as priority
from errand.worker_state() w;

-- Tasks with their current status.
create or replace view queues.task_status as
with workers as materialized (
    select w.owner, w.task_id, w.busy_since, w.recent, w.runs
    from errand.worker_state() w
),
-- Shared memory is read after the snapshot was taken. So a task that a worker has started since, and that is unfinished
-- in the snapshot, was running.
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
        when t.leased and t.not_before > clock_timestamp() then 'running'
        when t.scheduled_at > clock_timestamp() then 'scheduled'
        else 'ready'
    end as status,
    least(
        t.attempts::bigint + case when t.calling then 0 else coalesce(running.runs, 0) end,
        2147483647
    )::integer as attempts,
    t.enqueued_at,
    t.scheduled_at,
    coalesce(running.busy_since, t.dequeued_at) as started_at,
    t.finished_at,
    (
        select e.error_message
        from only queues.error e
        where e.task_id = t.task_id
        order by e.error_id desc
        limit 1
    ) as last_error,
    t.outcome,
    -- whether the task came from another database, and waits for queues.adopt()
    t.finished_at is null and t.origin <> (select errand.queue_origin()) as unadopted,
    coalesce(t.priority, 0::smallint) as priority,
    t.unique_key
from only queues.task t
left join running on running.task_id = t.task_id
    and t.finished_at is null
    and t.origin = (select errand.queue_origin())
left join (
    select c.task_id
    from only queues.call c
    join workers w on w.owner = c.owner
    where c.request is not null
) calling on calling.task_id = t.task_id and t.calling;

-- Says why a task has not started or not ended. It locks nothing and never waits, and works in transactions that only
-- read and on standbys. It is volatile, since what it reads in shared memory changes at any time.
create function queues.explain(
    _task_id bigint,
    out task_id bigint,
    out task_type text,
    out status text,
    out reason text,
    out explanation text,
    out until timestamptz,
    out blocking_task_id bigint,
    out blocking_pid integer,
    out hint text
)
returns setof record
volatile
strict
rows 1
language c
security definer
set search_path = pg_catalog, pg_temp
as 'MODULE_PATHNAME', 'explain_wrapper';

comment on column queues.task.unique_key is 'Identifies the task among unfinished tasks of its type, see queues.enqueue';
comment on column queues.task.follows is 'The task of the same unique key after whose end this task starts';
comment on column queues.task.priority is 'Tasks of a higher priority start first; null is 0';
comment on function queues.enqueue(text, jsonb, timestamptz, text, text, interval, interval, integer) is 'Enqueues a task, due now or at a time; returns its id';
comment on function queues.enqueue_many(jsonb) is 'Enqueues the tasks of an array; returns their ids in order';
comment on function queues.enqueue_many(text, jsonb[], timestamptz[], text[], text, interval, interval, integer) is 'Enqueues a task for each payload; returns their ids in order';
comment on function queues.explain(bigint) is 'Says why a task has not started or not ended: the reason, until when, what is in the way, what to do';
comment on function errand.announce_follower(bigint) is 'Has the commit announce that a task may start which follows another one';
comment on function errand.lock_next_ready(text[], timestamptz) is 'Locks the next ready task of some types';

-- New functions have no privileges but those that sql/90_rights.sql grants, whatever ALTER DEFAULT PRIVILEGES says. Who
-- might execute queues.enqueue before may execute it, and queues.enqueue_many.
do $$
declare
    _function regprocedure;
    _grantee text;
    _given text;
begin
    foreach _function in array array[
        'queues.enqueue(text, jsonb, timestamptz, text, text, interval, interval, integer)',
        'queues.enqueue_many(jsonb)',
        'queues.enqueue_many(text, jsonb[], timestamptz[], text[], text, interval, interval, integer)',
        'errand.announce_follower(bigint)',
        'errand.lock_next_ready(text[], timestamptz)',
        'queues.explain(bigint)'
    ]::regprocedure[] loop
        for _grantee in
            select distinct case when a.grantee = 0 then 'public' else a.grantee::regrole::text end
            from pg_proc p
            cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
            where p.oid = _function
                and a.grantee <> p.proowner
        loop
            execute format('revoke all on function %s from %s', _function, _grantee);
        end loop;

        if (select p.proname in ('enqueue', 'enqueue_many') from pg_proc p where p.oid = _function) then
            for _given in select jsonb_array_elements_text(current_setting('errand_upgrade.grants')::jsonb) loop
                execute format('grant execute on function %s %s', _function, _given);
            end loop;
        end if;
    end loop;
end;
$$;
