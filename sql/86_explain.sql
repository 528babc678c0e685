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
