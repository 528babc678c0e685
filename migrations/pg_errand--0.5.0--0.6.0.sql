-- 0.5.0 to 0.6.0. What it makes of an installed 0.5.0 has to be what sql/ installs, see tests/upgrade.rs.

set local search_path = pg_catalog, pg_temp;

-- Priorities.
alter table queues.task add column priority smallint;

comment on column queues.task.priority is 'Tasks of a higher priority start first; null is 0';

drop index queues.task_ready;
create index task_ready on queues.task (origin, scheduled_at, task_id)
    where finished_at is null and not calling and priority is null;

-- Prioritized tasks that may be claimed, in the order of each priority.
create index task_prioritized on queues.task (origin, priority, scheduled_at, task_id)
    where finished_at is null and not calling and priority is not null;

drop trigger task_before_update on queues.task;
create trigger task_before_update
    before update of task_type, payload, scheduled_at, origin, priority on queues.task
    for each row
    execute function errand.task_before_write();
alter table queues.task enable always trigger task_before_update;

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
    _here bigint := errand.queue_origin();
    _priority integer := 32768;
    _below integer;
    _next bigint;
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
            select r.task_id, r.leased
            into _next, _was_leased
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority is null
                and r.task_type = any (coalesce(_task_types, '{db_function,email,sms}'))
                and r.scheduled_at <= _now
                and (r.not_before is null or r.not_before <= _now)
            order by r.scheduled_at, r.task_id
            limit 1
            for no key update skip locked;
        else
            select r.task_id, r.leased
            into _next, _was_leased
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority = _priority
                and r.task_type = any (coalesce(_task_types, '{db_function,email,sms}'))
                and r.scheduled_at <= _now
                and (r.not_before is null or r.not_before <= _now)
            order by r.scheduled_at, r.task_id
            limit 1
            for no key update skip locked;
        end if;
        exit when found;
    end loop;

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
    end if;
    if _was_leased then
        perform errand.tell_of_ended_lease(_next);
    end if;
end;
$$;

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
    coalesce(t.priority, 0::smallint) as priority
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
