-- Enqueues a task. $1 task type, $2 payload (null counts as {}), $3 scheduled time (null counts as now).
insert into queues.task (task_type, payload, scheduled_at)
values ($1, coalesce($2, '{}'), coalesce($3, now()))
returning task_id;
