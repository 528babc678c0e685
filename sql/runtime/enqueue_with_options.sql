-- Enqueues a task with a priority or a queue key. $1 task type, $2 payload (null counts as {}), $3 scheduled time (null
-- counts as now), $4 priority, $5 queue key.
insert into queues.task (task_type, payload, scheduled_at, priority, queue_key)
values ($1, coalesce($2, '{}'), coalesce($3, now()), $4, $5)
returning task_id;
