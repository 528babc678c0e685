-- Removes the request of a call whose task has ended. $1 task.
update only queues.call
set request = null
where task_id = $1;
