-- Statistics of tasks, handlers and providers. They are counted in shared memory, so they are those of this server.

-- Lets the commit count what a worker outside or a session has done with a task: attempts that have begun (with when the
-- task was ready), its end (with when the attempt began), and errors. _had_succeeded: it was counted as succeeded before.
create function errand.count_task(
    _task_id bigint,
    _task_type text,
    _status text default null,
    _attempts integer default 0,
    _errors integer default 0,
    _ready_at timestamptz default null,
    _began_at timestamptz default null,
    _had_succeeded boolean default false
)
returns void
language c
as 'MODULE_PATHNAME', 'count_task_wrapper';

-- What was counted for each task type, for each of its handlers, and for each of its providers. Views call functions with
-- the privileges of the role that reads them, so PUBLIC may execute this function; it requires SELECT on the view. So do the
-- following ones. Times are in milliseconds: the quantiles 50, 95 and 99 %, the longest one and the mean.
create function errand.stats(
    out task_type text,
    out handler text,
    out invoked_as text,
    out provider text,
    out counts bigint[],
    out waiting double precision[],
    out running double precision[],
    out provider_time double precision[],
    out stats_since timestamptz
)
returns setof record
volatile
strict
language c
as 'MODULE_PATHNAME', 'stats_rows_wrapper';

-- The histograms of the same, as cumulative counts.
create function errand.stats_buckets(
    out task_type text,
    out handler text,
    out invoked_as text,
    out provider text,
    out measured text,
    out le double precision,
    out count bigint,
    out sum double precision
)
returns setof record
volatile
strict
language c
as 'MODULE_PATHNAME', 'stats_buckets_wrapper';

-- The table in shared memory: how many entries are used, how often one was given to another key because all were used, and
-- how often something was not counted for that reason.
create function errand.stats_info(
    out entries integer,
    out max_entries integer,
    out replaced bigint,
    out uncounted bigint
)
returns setof record
volatile
strict
language c
as 'MODULE_PATHNAME', 'stats_info_wrapper';

-- The numbers of the last 32 tasks of a type that ended or, if _failed, that failed; the last one first.
create function errand.last_ended(_task_type text, _failed boolean default false)
returns setof bigint
volatile
strict
language c
as 'MODULE_PATHNAME', 'last_ended_wrapper';

-- How many tasks of each type ended in the current span of 20 seconds and in _spans ones before it, which began so many
-- seconds ago.
create function errand.throughput(
    _spans integer,
    out task_type text,
    out succeeded bigint,
    out failed bigint,
    out cancelled bigint,
    out seconds double precision
)
returns setof record
volatile
strict
language c
as 'MODULE_PATHNAME', 'throughput_wrapper';

create view queues.stats as
select
    s.task_type,
    s.handler,
    s.invoked_as,
    s.provider,
    case when s.handler is null and s.provider is null then s.counts[1] end as attempts,
    case when s.handler is null and s.provider is null then s.counts[2] end as succeeded,
    case when s.handler is null and s.provider is null then s.counts[3] end as failed,
    case when s.handler is null and s.provider is null then s.counts[4] end as cancelled,
    case when s.handler is null and s.provider is null then s.counts[5] end as repeated,
    case when s.provider is null then s.counts[6] end as errors,
    case when s.handler is not null then s.counts[7] end as invocations,
    case when s.provider is not null then s.counts[8] end as calls,
    case when s.provider is not null then s.counts[9] end as failed_calls,
    case when s.provider is not null then s.counts[10] end as status_2xx,
    case when s.provider is not null then s.counts[11] end as status_3xx,
    case when s.provider is not null then s.counts[12] end as status_4xx,
    case when s.provider is not null then s.counts[13] end as status_5xx,
    case when s.provider is not null then s.counts[14] end as no_response,
    case when s.provider is not null then s.counts[15] end as deferred,
    s.waiting[1] as waiting_p50,
    s.waiting[2] as waiting_p95,
    s.waiting[3] as waiting_p99,
    s.waiting[4] as waiting_max,
    s.waiting[5] as waiting_mean,
    s.running[1] as running_p50,
    s.running[2] as running_p95,
    s.running[3] as running_p99,
    s.running[4] as running_max,
    s.running[5] as running_mean,
    s.provider_time[1] as provider_p50,
    s.provider_time[2] as provider_p95,
    s.provider_time[3] as provider_p99,
    s.provider_time[4] as provider_max,
    s.provider_time[5] as provider_mean,
    s.stats_since
from errand.stats() s;

comment on view queues.stats is 'Statistics by task type, handler and provider, of this server (on a standby: of none of the primary''s tasks); times in milliseconds';

create view queues.stats_buckets as
select b.task_type, b.handler, b.invoked_as, b.provider, b.measured, b.le, b.count, b.sum
from errand.stats_buckets() b;

comment on view queues.stats_buckets is 'Histograms of the times in queues.stats: how many took at most le milliseconds, and the sum of all';

create view queues.stats_info as
select i.entries, i.max_entries, i.replaced, i.uncounted
from errand.stats_info() i;

comment on view queues.stats_info is 'How full the table of statistics in shared memory is, for all databases of the server';

-- A row for each minute of the last day, and for each hour of the last 90 days, in which tasks or calls ended. Workers write
-- and remove the rows. They are about this server, so a dump does not contain them.
create table queues.stats_history (
    -- the beginning of the minute or hour
    at timestamptz not null,
    resolution text not null,
    succeeded bigint not null,
    failed bigint not null,
    cancelled bigint not null,
    repeated bigint not null,
    errors bigint not null,
    calls bigint not null,
    failed_calls bigint not null,
    waiting_p50 double precision,
    waiting_p95 double precision,
    waiting_p99 double precision,
    running_p50 double precision,
    running_p95 double precision,
    running_p99 double precision,
    provider_p50 double precision,
    provider_p95 double precision,
    provider_p99 double precision,
    -- the number of workers that were busy when the row was written; of an hour, the largest number
    busy_workers integer not null,
    -- the same by task type ("types") and by provider ("providers"), with histograms of microseconds
    details jsonb not null
);

comment on table queues.stats_history is 'Statistics of each minute of a day and each hour of 90 days in which something ended; times in milliseconds';

create index stats_history_at on queues.stats_history (resolution, at);
-- A publication of all tables needs it.
alter table queues.stats_history replica identity full;

-- How many tasks of each type ended within a while, in all (task_type is null) and per second. The last ten minutes come
-- from shared memory, in spans of 20 seconds; a longer while comes from queues.stats_history.
create function queues.throughput(
    _for interval default '5 minutes',
    out task_type text,
    out succeeded bigint,
    out failed bigint,
    out cancelled bigint,
    out per_second double precision,
    out seconds double precision
)
returns setof record
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    _seconds double precision := extract(epoch from _for);
    _resolution text := case when _for > '1 day' then 'hour' else 'minute' end;
begin
    if _for is null or not (_seconds > 0) or _for > '90 days' then
        raise exception 'the time for the throughput has to be between 0 and 90 days'
            using errcode = 'invalid_parameter_value',
                  hint = 'Give an interval, such as ''5 minutes''.';
    end if;

    return query
    with lately as (
        select t.task_type, t.succeeded, t.failed, t.cancelled, t.seconds
        from errand.throughput(ceil(_seconds / 20)::integer) t
        where _for <= '10 minutes'
        union all
        select
            f.key,
            (f.value ->> 'succeeded')::bigint,
            (f.value ->> 'failed')::bigint,
            (f.value ->> 'cancelled')::bigint,
            _seconds
        from only queues.stats_history h
        cross join lateral jsonb_each(h.details -> 'types') f
        where _for > '10 minutes'
            and h.resolution = _resolution
            and h.at >= clock_timestamp() - _for
    )
    select
        l.task_type,
        coalesce(sum(l.succeeded), 0)::bigint,
        coalesce(sum(l.failed), 0)::bigint,
        coalesce(sum(l.cancelled), 0)::bigint,
        coalesce(sum(l.succeeded + l.failed + l.cancelled)::float8 / max(l.seconds), 0),
        coalesce(max(l.seconds), _seconds)
    from lately l
    group by grouping sets ((l.task_type), ())
    order by l.task_type nulls first;
end;
$$;

-- Begins to count again: everything of this database, or one task type with its handlers and providers.
create function queues.stats_reset(_task_type text default null)
returns void
language c
as 'MODULE_PATHNAME', 'stats_reset_wrapper';
