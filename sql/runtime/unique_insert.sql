-- Enqueues a task with a unique key, unless an unfinished one has it. $1 task type, $2 payload (null counts as {}), $3
-- scheduled time (null counts as now), $4 priority, $5 unique key, $6 longest time until then, $7 the running task that
-- it follows, $8 queue key.
insert into queues.task (task_type, payload, scheduled_at, priority, unique_key, follows, queue_key)
values ($1, coalesce($2, '{}'), least(coalesce($3, now()), now() + $6), $4, $5, $7, $8)
on conflict do nothing
returning task_id;
