-- The live workers of this database, from shared memory. Views call functions with the rights of
-- whoever reads them, so this one is open, and itself asks for the right to read one of the views.
create function internal.worker_state(
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

-- A row per live worker process of this database.
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
    w.started_at
from internal.worker_state() w;

comment on view queues.worker is 'A row per live worker process of this database';

-- A row per task with its status as of now.
create view queues.task_status as
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
    -- It came from another database, and waits for queues.adopt().
    t.finished_at is null and t.origin <> (select internal.queue_origin()) as held
from only queues.task t
left join running on running.task_id = t.task_id
    and t.finished_at is null
    and t.origin = (select internal.queue_origin())
left join (
    select c.task_id
    from only queues.call c
    join workers w on w.owner = c.owner
    where c.request is not null
) calling on calling.task_id = t.task_id and t.calling;

comment on view queues.task_status is 'A row per task with its status: scheduled, ready, running, succeeded, failed, cancelled';

-- Tasks that came from another database with a copy of it, and are not run here until
-- queues.adopt(): a row for each database they came from.
create view queues.unadopted as
select
    t.origin,
    count(*) as tasks,
    min(t.enqueued_at) as first_enqueued_at,
    max(t.enqueued_at) as last_enqueued_at,
    min(t.scheduled_at) as first_scheduled_at
from only queues.task t
where t.finished_at is null
    and t.origin <> (select internal.queue_origin())
group by t.origin;

comment on view queues.unadopted is 'Tasks that came from another database and wait for queues.adopt(), by where they came from';
