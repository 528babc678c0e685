-- Reads an array of tasks, in order. $1 array of objects.
select
    coalesce(t.task_type, t._task_type),
    coalesce(nullif(t.payload, 'null'), nullif(t._payload, 'null')),
    coalesce(t.scheduled_at, t._scheduled_at),
    coalesce(t.unique_key, t._unique_key),
    coalesce(t.if_exists, t._if_exists),
    coalesce(t.unique_for, t._unique_for),
    coalesce(t.debounce_limit, t._debounce_limit),
    coalesce(t.priority, t._priority),
    coalesce(t.queue_key, t._queue_key)
from jsonb_to_recordset($1) as t (
    task_type text,
    _task_type text,
    payload jsonb,
    _payload jsonb,
    scheduled_at timestamptz,
    _scheduled_at timestamptz,
    unique_key text,
    _unique_key text,
    if_exists text,
    _if_exists text,
    unique_for interval,
    _unique_for interval,
    debounce_limit interval,
    _debounce_limit interval,
    priority integer,
    _priority integer,
    queue_key text,
    _queue_key text
);
