-- Gives a task back for another run. $1 task, $2 when this run started, $3 not before,
-- $4 runs to be counted.
update only queues.task
set attempts = least(attempts, 2147483647 - $4) + $4,
    dequeued_at = $2,
    not_before = $3,
    leased = false
where task_id = $1
    and finished_at is null
    and not calling
    -- taken by a worker outside meanwhile
    and (not_before is null or not_before <= clock_timestamp());
