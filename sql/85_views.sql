-- Returns the live workers of this database, from shared memory. Views call functions with the privileges of the role
-- that reads them, so PUBLIC may execute this function; it requires SELECT on one of the views.
create function errand.worker_state(
    out pid integer,
    out worker_number integer,
    out state text,
    out owner bigint,
    out task_id bigint,
    out task_type text,
    out handler text,
    out busy_since timestamptz,
    out in_flight integer,
    out succeeded bigint,
    out failed bigint,
    out started_at timestamptz,
    out recent bigint[],
    out runs integer
)
returns setof record
stable
strict
language c
as 'MODULE_PATHNAME', 'worker_state_wrapper';

-- The live worker processes of this database.
create view queues.worker as
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

comment on view queues.worker is 'Live worker processes of this database';

-- Tasks with their current status.
create view queues.task_status as
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

comment on view queues.task_status is 'Tasks with their status: scheduled, ready, running, succeeded, failed, cancelled';

-- Unadopted tasks, by the database from which they came: they do not run here until queues.adopt() is called.
create view queues.unadopted as
select
    t.origin,
    count(*) as tasks,
    min(t.enqueued_at) as first_enqueued_at,
    max(t.enqueued_at) as last_enqueued_at,
    min(t.scheduled_at) as first_scheduled_at
from only queues.task t
where t.finished_at is null
    and t.origin <> (select errand.queue_origin())
group by t.origin;

comment on view queues.unadopted is 'Tasks that came from another database and wait for queues.adopt(), by their origin';
