-- Defers a task for a retry. $1 task, $2 start of this attempt, $3 not before, $4 number of attempts to add.
update only queues.task
set attempts = least(attempts, 2147483647 - $4) + $4,
    dequeued_at = $2,
    not_before = $3,
    leased = false
where task_id = $1
    and finished_at is null
    and not calling
    -- A worker outside may have dequeued the task since.
    and (not_before is null or not_before <= clock_timestamp());
