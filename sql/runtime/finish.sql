-- Ends a task. $1 task, $2 status, $3 outcome, $4 start of this step, $5 number of attempts to add: 0 after a provider
-- call, whose attempt started with the call.
update only queues.task
set final_status = $2,
    outcome = $3,
    attempts = least(attempts, 2147483647 - $5) + $5,
    dequeued_at = case when $5 > 0 then $4 else dequeued_at end,
    finished_at = clock_timestamp(),
    calling = false,
    leased = false,
    not_before = null
where task_id = $1
    and finished_at is null;
