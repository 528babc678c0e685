-- Marks a task as being between the steps of its call. $1 task, $2 start of this attempt, $3 number of attempts to
-- add.
update only queues.task
set calling = true,
    attempts = least(attempts, 2147483647 - $3) + $3,
    dequeued_at = $2,
    leased = false,
    not_before = null
where task_id = $1;
