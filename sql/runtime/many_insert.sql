-- Enqueues tasks without unique keys, and returns their ids in order. $1 array of objects. A time in the past counts as
-- now.
insert into queues.task (task_type, payload, scheduled_at, priority, queue_key)
select
    coalesce(t.task_type, t._task_type),
    coalesce(nullif(t.payload, 'null'), nullif(t._payload, 'null'), '{}'),
    greatest(coalesce(t.scheduled_at, t._scheduled_at), now()),
    nullif(coalesce(t.priority, t._priority), 0),
    coalesce(t.queue_key, t._queue_key)
from jsonb_to_recordset($1) as t (
    task_type text,
    _task_type text,
    payload jsonb,
    _payload jsonb,
    scheduled_at timestamptz,
    _scheduled_at timestamptz,
    priority integer,
    _priority integer,
    queue_key text,
    _queue_key text
)
returning task_id;
