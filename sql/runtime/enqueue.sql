-- Enqueues a task. $1 type, $2 payload, $3 when it is due; null counts as {} and now.
insert into queues.task (task_type, payload, scheduled_at)
values ($1, coalesce($2, '{}'), coalesce($3, now()))
returning task_id;
