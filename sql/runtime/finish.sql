-- Ends a task. $1 task, $2 status, $3 outcome, $4 when this run started (null: counted already).
update queues.task
set final_status = $2,
    outcome = $3,
    attempts = attempts + ($4 is not null)::integer,
    dequeued_at = coalesce($4, dequeued_at),
    finished_at = clock_timestamp(),
    calling = false,
    leased = false,
    held_until = null
where task_id = $1
    and finished_at is null;
