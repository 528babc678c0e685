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
rows 4
language c
as 'MODULE_PATHNAME', 'worker_state_wrapper';

-- What workers of this database wait for while they run tasks, as in pg_stat_activity, and the processes whose locks they wait
-- for (0: a prepared transaction). PUBLIC may execute it, since queues.running calls it; it cannot be called by name without
-- USAGE on the schema. Only the privileges of the owner show what processes of other roles wait for.
create function errand.worker_waits(
    out pid integer,
    out waits_for text,
    out blocked_by integer[],
    -- since when it waits for a lock
    out blocked_since timestamptz
)
returns setof record
stable
rows 4
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    select
        w.pid,
        a.wait_event_type || ': ' || a.wait_event,
        case
            when a.wait_event_type = 'Lock' then array(
                select distinct b.pid
                from unnest(pg_blocking_pids(w.pid)) as b (pid)
                order by b.pid
            )
        end,
        case
            when a.wait_event_type = 'Lock' then coalesce(
                (
                    select min(l.waitstart)
                    from pg_locks l
                    where l.pid = w.pid
                        and not l.granted
                ),
                w.busy_since
            )
        end
    from errand.worker_state() w
    cross join lateral pg_stat_get_activity(w.pid) a
    where w.task_id is not null
        and a.wait_event is not null;
$$;

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
    ) as priority,
    (
        select t.queue_key
        from only queues.task t
        where t.task_id = w.task_id
    ) as queue_key
from errand.worker_state() w;

comment on view queues.worker is 'Live worker processes of this database';

-- The time, once for a statement.
create function errand.moment()
returns timestamptz
stable
language sql
as $$
    select pg_catalog.clock_timestamp();
$$;

-- The tasks that workers of this database run or have started, and those whose calls they hold. Shared memory is read after
-- the snapshot was taken. So a task that a worker has started since, and that is unfinished in the snapshot, was running.
create view errand.active_task as
with workers as materialized (
    select w.owner, w.task_id, w.busy_since, w.recent, w.runs
    from errand.worker_state() w
)
select
    a.task_id,
    max(a.busy_since) as busy_since,
    -- the runs that the row may not count yet; null if a worker only holds the call
    max(a.runs) as runs,
    bool_or(a.is_calling) as is_calling
from (
    select w.task_id, w.busy_since, w.runs, false as is_calling
    from workers w
    where w.task_id is not null
    union all
    select unnest(w.recent), null, 1, false
    from workers w
    union all
    select c.task_id, null, null, true
    from only queues.call c
    join workers w on w.owner = c.owner
    where c.request is not null
) a
group by a.task_id;

comment on view errand.active_task is 'Tasks that workers run or hold the calls of, from shared memory';

create function errand.narrows_support(internal)
returns internal
strict
language c
as 'MODULE_PATHNAME', 'narrows_support_wrapper';

-- Always true. PostgreSQL cannot tell that a task whose status is 'failed' has the final status 'failed', and so on. If a
-- query compares the status with constants, the planner replaces this function by what follows for the columns: a comparison of
-- _final_status and _finished, which is true of all tasks that have ended, or _unfinished, which is true of the others, or
-- _running, which is true of all that run. Indexes answer these.
create function errand.narrows(
    _finished_at timestamptz,
    _final_status text,
    _finished boolean,
    _unfinished boolean,
    _running boolean
)
returns boolean
immutable
parallel safe
language c
support errand.narrows_support
as 'MODULE_PATHNAME', 'narrows_wrapper';

-- Tasks with their current status. Planners answer common conditions by index, see docs/decisions/fast-questions.md. The
-- first branch of the status has to be as errand.narrows expects it.
create view queues.task_status as
select
    t.task_id,
    t.task_type,
    case
        when t.finished_at is not null then t.final_status
        when active.runs is not null then 'running'
        when active.is_calling and t.calling then 'running'
        when t.leased and t.not_before > moment.now then 'running'
        when t.scheduled_at > moment.now then 'scheduled'
        else 'ready'
    end as status,
    least(
        t.attempts::bigint + case when t.calling then 0 else coalesce(active.runs, 0) end,
        2147483647
    )::integer as attempts,
    t.enqueued_at,
    t.scheduled_at,
    coalesce(active.busy_since, t.dequeued_at) as started_at,
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
    t.unique_key,
    t.queue_key,
    t.retry_of
from only queues.task t
-- The offset keeps the time from being read for each row.
cross join (
    select (select errand.moment()) as now
    offset 0
) moment
left join errand.active_task active on active.task_id = t.task_id
    and t.finished_at is null
    and (t.origin = (select errand.queue_origin()) or active.runs is null)
where errand.narrows(
    t.finished_at,
    t.final_status,
    t.finished_at is not null,
    -- each arm is the condition of an index, or a list of tasks
    (t.finished_at is null and not t.calling and t.priority is null and t.queue_key is null)
        or (t.finished_at is null and not t.calling and t.priority is not null and t.queue_key is null)
        or (t.finished_at is null and t.queue_key is not null)
        or (
            t.finished_at is null
            and t.calling
            and t.task_id = any (array(select c.task_id from only queues.call c where c.request is not null))
        ),
    (t.finished_at is null and t.task_id = any (array(select a.task_id from errand.active_task a)))
        or (t.finished_at is null and t.not_before is not null and t.leased)
);

comment on view queues.task_status is 'Tasks with their status: scheduled, ready, running, succeeded, failed, cancelled';

-- The first origin above _above (null: of all) that unfinished tasks have. Indexes begin with the origin, and tasks in a call have
-- a row in queues.call. So the time does not depend on how many tasks there are.
create function errand.next_origin(_above bigint)
returns bigint
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
    select min(o.origin)
    from (
        (
            select t.origin
            from only queues.task t
            where t.finished_at is null
                and not t.calling
                and t.priority is null
                and t.queue_key is null
                and t.origin > coalesce(_above, -9223372036854775808)
            order by t.origin, t.scheduled_at, t.task_id
            limit 1
        )
        union all
        (
            select t.origin
            from only queues.task t
            where t.finished_at is null
                and not t.calling
                and t.priority is not null
                and t.queue_key is null
                and t.origin > coalesce(_above, -9223372036854775808)
            order by t.origin, t.priority, t.scheduled_at, t.task_id
            limit 1
        )
        union all
        (
            select t.origin
            from only queues.task t
            where t.finished_at is null
                and t.queue_key is not null
                and t.origin > coalesce(_above, -9223372036854775808)
            order by t.origin, t.scheduled_at, t.task_id
            limit 1
        )
        union all
        select t.origin
        from only queues.call c
        join only queues.task t on t.task_id = c.task_id
        where t.finished_at is null
            and t.calling
            and t.origin > coalesce(_above, -9223372036854775808)
    ) o;
$$;

-- The unadopted tasks by their origin. PUBLIC may execute it, since queues.unadopted calls it. Without JIT, which takes longer
-- than the query.
create function errand.unadopted(
    out origin bigint,
    out tasks bigint,
    out first_enqueued_at timestamptz,
    out last_enqueued_at timestamptz,
    out first_scheduled_at timestamptz,
    out task_types text[]
)
returns setof record
stable
rows 1
language sql
security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
    with recursive origins (origin) as (
        select errand.next_origin(null)
        union all
        select errand.next_origin(o.origin)
        from origins o
        where o.origin is not null
    )
    select
        o.origin,
        coalesce(sum(t.tasks), 0)::bigint,
        min(t.first_enqueued_at),
        max(t.last_enqueued_at),
        min(t.first_scheduled_at),
        array_agg(t.task_type order by t.task_type)
    from origins o
    cross join lateral (
        select
            t.task_type,
            count(*) as tasks,
            min(t.enqueued_at) as first_enqueued_at,
            max(t.enqueued_at) as last_enqueued_at,
            min(t.scheduled_at) as first_scheduled_at
        from only queues.task t
        where t.origin = o.origin
            and (
                -- each arm is the condition of an index, or a list of tasks
                (t.finished_at is null and not t.calling and t.priority is null and t.queue_key is null)
                or (t.finished_at is null and not t.calling and t.priority is not null and t.queue_key is null)
                or (t.finished_at is null and t.queue_key is not null)
                or (
                    t.finished_at is null
                    and t.calling
                    and t.task_id = any (array(select c.task_id from only queues.call c))
                )
            )
        group by t.task_type
    ) t
    where o.origin <> errand.queue_origin()
    group by o.origin;
$$;

-- Unadopted tasks, by the database from which they came: they do not run here until queues.adopt() is called.
create view queues.unadopted as
select u.origin, u.tasks, u.first_enqueued_at, u.last_enqueued_at, u.first_scheduled_at
from errand.unadopted() u;

comment on view queues.unadopted is 'Tasks that came from another database and wait for queues.adopt(), by their origin';
