-- Removes the row that an earlier call of a task has left. $1 task.
delete from only queues.call
where task_id = $1;
