-- The task of a call has ended: its request is needed no more. $1 task.
update only queues.call
set request = null
where task_id = $1;
