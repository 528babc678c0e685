-- Returns the next task by id. $1 after this one.
select min(t.task_id)
from only queues.task t
where t.task_id > $1;
