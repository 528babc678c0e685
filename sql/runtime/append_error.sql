-- Records an error. $1 task, $2 message, $3 task type, $4 handler, $5 attempt, $6 sqlstate, $7 detail, $8 hint,
-- $9 context.
insert into queues.error
    (task_id, error_message, task_type, handler, attempt, sqlstate, detail, hint, context)
values
    ($1, $2, $3, $4, $5, $6, $7, $8, $9);
