-- Views that answer the questions of an operator, see docs/questions.md. Those without messages and payloads may be read by
-- pg_monitor.

-- What messages of the same cause have in common: numbers, quoted texts, UUIDs, hexadecimal numbers, e-mail addresses and times
-- are replaced. PUBLIC may execute it, since queues.failure calls it.
create function errand.message_shape(_message text)
returns text
immutable
strict
parallel safe
language c
as 'MODULE_PATHNAME', 'message_shape_wrapper';

-- What runs now, and since when.
create view queues.running as
with workers as materialized (
    select w.pid, w.owner, w.task_id, w.task_type, w.handler, w.busy_since
    from errand.worker_state() w
),
-- read once for both columns
waits as materialized (
    select x.pid, x.waits_for, x.blocked_by
    from errand.worker_waits() x
)
select
    w.task_id,
    w.task_type,
    -- where it runs: in a worker, between the steps of its call, or outside
    'worker' as runs_in,
    w.handler,
    null::text as provider,
    w.busy_since as since,
    w.pid,
    -- when its lease ends
    null::timestamptz as until,
    (
        select coalesce(t.priority, 0::smallint)
        from only queues.task t
        where t.task_id = w.task_id
    ) as priority,
    (
        select t.queue_key
        from only queues.task t
        where t.task_id = w.task_id
    ) as queue_key,
    -- what the worker waits for, and the processes whose locks it waits for
    (
        select x.waits_for
        from waits x
        where x.pid = w.pid
    ) as waits_for,
    (
        select x.blocked_by
        from waits x
        where x.pid = w.pid
    ) as blocked_by
from workers w
where w.task_id is not null
union all
select
    t.task_id,
    t.task_type,
    'call',
    null,
    c.provider,
    c.requested_at,
    w.pid,
    null,
    coalesce(t.priority, 0::smallint),
    t.queue_key,
    null,
    null
from only queues.call c
join workers w on w.owner = c.owner
join only queues.task t on t.task_id = c.task_id
where c.request is not null
    and t.finished_at is null
    and t.calling
    and not exists (
        select 1
        from workers o
        where o.task_id = c.task_id
    )
union all
select
    t.task_id,
    t.task_type,
    'outside',
    null,
    null,
    t.dequeued_at,
    null,
    t.not_before,
    coalesce(t.priority, 0::smallint),
    t.queue_key,
    null,
    null
from only queues.task t
where t.finished_at is null
    and t.not_before is not null
    and t.not_before > (select errand.moment())
    and t.leased
    and not t.calling;

comment on view queues.running is 'Tasks that run: in workers, between the steps of calls, and outside';

-- The tasks that wait, by type and by what their rows say, but for those in a call. Statements would take ten times as long.
create function errand.count_waiting(
    out task_type text,
    out class text,
    out tasks bigint,
    out oldest timestamptz,
    out until timestamptz,
    out task_id bigint,
    out other_task_id bigint
)
returns setof record
stable
rows 20
language c
as 'MODULE_PATHNAME', 'count_waiting_wrapper';

-- The tasks that wait, by type and by what their rows say. PUBLIC may execute it, since queues.waiting calls it; it cannot be
-- called by name without USAGE on the schema. Without JIT, which takes longer than the query.
create function errand.waiting_groups(
    out task_type text,
    -- what the row says; 'ready' and 'key_ready' if nothing
    out class text,
    out tasks bigint,
    out oldest timestamptz,
    out until timestamptz,
    -- the oldest of them, and another one
    out task_id bigint,
    out other_task_id bigint
)
returns setof record
stable
rows 20
language sql
security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
    select w.task_type, w.class, w.tasks, w.oldest, w.until, w.task_id, w.other_task_id
    from errand.count_waiting() w
    union all
    -- calls whose worker is gone
    select t.task_type, 'call', count(*), min(t.scheduled_at), null, min(t.task_id), max(t.task_id)
    from only queues.call c
    join only queues.task t on t.task_id = c.task_id
    where c.request is not null
        and t.finished_at is null
        and t.calling
        and not exists (
            select 1
            from errand.active_task a
            where a.task_id = t.task_id
        )
    group by t.task_type;
$$;

-- The groups of waiting tasks, each with the reason why its tasks wait. queues.explain is asked about the oldest task of each
-- group, and about another one if the reason concerns that task alone.
create view errand.waiting_reason as
select
    g.task_type,
    g.class,
    e.reason,
    g.tasks,
    g.oldest,
    coalesce(g.until, e.until) as until,
    e.task_id,
    e.hint
from errand.waiting_groups() g
cross join lateral (
    -- The first task is asked about once more if the reasons of both concern one task alone.
    select e.*
    from unnest(array[g.task_id, g.other_task_id, g.task_id]) with ordinality r (task_id, place)
    cross join lateral queues.explain(r.task_id) e
    where r.place = 3
        or e.reason not in ('finished', 'running', 'locked', 'uncommitted', 'interrupted')
    limit 1
) e;

comment on view errand.waiting_reason is 'Groups of waiting tasks, and why they wait';

-- What waits and why. Without JIT, as above.
create function errand.waiting(
    out task_type text,
    out reason text,
    out tasks bigint,
    out oldest timestamptz,
    out until timestamptz,
    out task_id bigint,
    out hint text
)
returns setof record
volatile
rows 20
language sql
security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
    select
        w.task_type,
        w.reason,
        sum(w.tasks)::bigint,
        min(w.oldest),
        min(w.until),
        min(w.task_id),
        min(w.hint)
    from errand.waiting_reason w
    group by w.task_type, w.reason
    order by 3 desc, 1, 2;
$$;

create view queues.waiting as
select w.task_type, w.reason, w.tasks, w.oldest, w.until, w.task_id, w.hint
from errand.waiting() w;

comment on view queues.waiting is 'Tasks that wait, by type and reason';

-- The oldest task of each type that is ready.
create view queues.oldest_ready as
select distinct on (g.task_type)
    g.task_type,
    g.task_id,
    g.oldest as scheduled_at,
    case when isfinite(g.oldest) then (select errand.moment()) - g.oldest end as age
from errand.waiting_groups() g
where g.class in ('ready', 'key_ready')
order by g.task_type, g.oldest, g.task_id;

comment on view queues.oldest_ready is 'The oldest ready task of each type';

-- Errors, the newest of which indexes find by failed_at and by error_id.
create view queues.failure as
select
    e.error_id,
    e.task_id,
    e.task_type,
    e.handler,
    e.created_at as failed_at,
    e.attempt,
    e.sqlstate,
    e.error_message as message,
    e.detail,
    e.hint,
    errand.message_shape(e.error_message) as shape
from only queues.error e;

comment on view queues.failure is 'Errors with the shape of their message, which errors of the same cause have in common';

-- Errors since a time, by the shape of their message. A statement would take three times as long.
create function errand.failure_shapes(
    _since timestamptz,
    out shape text,
    out failures bigint,
    out first_at timestamptz,
    out last_at timestamptz,
    out task_types text[],
    out sqlstates text[],
    out last_id bigint
)
returns setof record
stable
strict
rows 20
language c
as 'MODULE_PATHNAME', 'failure_shapes_wrapper';

-- The errors of the last time, by the shape of their message. The example is the latest one.
create function queues.failures(
    _since interval default '1 hour',
    out shape text,
    out failures bigint,
    out first_at timestamptz,
    out last_at timestamptz,
    out task_types text[],
    out sqlstates text[],
    out example_task_id bigint,
    out example_message text
)
returns setof record
stable
rows 20
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    select s.shape, s.failures, s.first_at, s.last_at, s.task_types, s.sqlstates, e.task_id, e.error_message
    from errand.failure_shapes(clock_timestamp() - _since) s
    -- This is not a join, since a plan for a small table would read all of it.
    cross join lateral (
        select e.task_id, e.error_message
        from only queues.error e
        where e.error_id = s.last_id
        limit 1
    ) e
    order by s.failures desc, s.last_at desc;
$$;

-- The last tasks of a type that ended, the last one first. The statistics know the last 32 of each type; if these are
-- fewer than are asked for, the whole table is read.
create function queues.last_ended(
    _task_type text,
    _limit integer default 20,
    out task_id bigint,
    out status text,
    out attempts integer,
    out enqueued_at timestamptz,
    out started_at timestamptz,
    out finished_at timestamptz,
    out last_error text
)
returns setof record
volatile
strict
rows 20
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
#variable_conflict use_column
declare
    _found bigint[];
begin
    if _limit < 0 then
        raise exception 'the number of tasks must not be negative'
            using errcode = 'invalid_parameter_value',
                  hint = 'Give a limit such as 20.';
    end if;

    _found := array(
        select t.task_id
        from only queues.task t
        where t.task_id = any (array(select errand.last_ended(_task_type)))
            and t.task_type = _task_type
            and t.finished_at is not null
        order by t.finished_at desc, t.task_id desc
        limit _limit
    );

    if cardinality(_found) < _limit then
        _found := array(
            select t.task_id
            from only queues.task t
            where t.task_type = _task_type
                and t.finished_at is not null
            order by t.finished_at desc, t.task_id desc
            limit _limit
        );
    end if;

    return query
    select t.task_id, t.status, t.attempts, t.enqueued_at, t.started_at, t.finished_at, t.last_error
    from queues.task_status t
    where t.task_id = any (_found)
        and t.finished_at is not null
    order by t.finished_at desc, t.task_id desc;
end;
$$;
