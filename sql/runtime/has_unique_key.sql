-- Returns whether a task has a unique key. $1 task.
select t.unique_key is not null
from only queues.task t
where t.task_id = $1;
