-- Removes the row of an earlier call. $1 task.
delete from queues.call
where task_id = $1;
