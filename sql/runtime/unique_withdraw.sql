-- Removes a task that this transaction has enqueued although another one with its unique key exists. $1 task.
delete from only queues.task
where task_id = $1
returning task_id;
