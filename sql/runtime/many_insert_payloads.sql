-- Enqueues a task for each payload, and returns their ids in order. $1 task type, $2 payloads, $3 times, $4 priority, $5
-- queue keys. A time in the past counts as now.
insert into queues.task (task_type, payload, scheduled_at, priority, queue_key)
select $1, coalesce(t.payload, '{}'), greatest(t.scheduled_at, now()), nullif($4, 0), t.queue_key
from unnest($2, $3, $5) as t (payload, scheduled_at, queue_key)
returning task_id;
