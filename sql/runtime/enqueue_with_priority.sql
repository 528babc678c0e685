-- Enqueues a task with a priority. $1 task type, $2 payload (null counts as {}), $3 scheduled time (null counts as now),
-- $4 priority.
insert into queues.task (task_type, payload, scheduled_at, priority)
values ($1, coalesce($2, '{}'), coalesce($3, now()), $4)
returning task_id;
