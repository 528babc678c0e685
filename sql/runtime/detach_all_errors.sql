-- Removes the task from all errors, after all tasks have been removed.
update only queues.error
set task_id = null
where task_id is not null;
