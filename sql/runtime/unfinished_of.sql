-- Returns those of the tasks $1 that have not ended.
select t.task_id
from only queues.task t
where t.task_id = any ($1)
    and t.finished_at is null;
