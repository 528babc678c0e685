-- All tasks were removed: the errors stay, without them.
update queues.error
set task_id = null
where task_id is not null;
