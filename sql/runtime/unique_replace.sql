-- Replaces a waiting task. $1 task, $2 payload (null counts as {}), $3 scheduled time (null counts as now), $4 priority, $5
-- longest time from when it was enqueued until then, $6 queue key.
update only queues.task
set payload = coalesce($2, '{}'),
    scheduled_at = least(coalesce($3, now()), enqueued_at + $5),
    priority = $4,
    queue_key = $6
where task_id = $1
    and finished_at is null
    and not calling
    and not (leased and not_before > clock_timestamp())
returning task_id;
