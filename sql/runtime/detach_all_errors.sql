-- After all tasks were removed: their errors stay, without a task.
update only queues.error
set task_id = null
where task_id is not null;
