-- Marks a task as being between the steps of its call. $1 task, $2 when this run started.
update queues.task
set calling = true,
    attempts = attempts + 1,
    dequeued_at = $2,
    leased = false,
    held_until = null
where task_id = $1;
