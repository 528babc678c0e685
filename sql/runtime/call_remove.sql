-- Removes the row of an earlier call. $1 task.
delete from only queues.call
where task_id = $1;
