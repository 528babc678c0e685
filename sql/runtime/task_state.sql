-- How a task stands: whether it has ended, whether it is between the steps of a call, and the runs that are counted;
-- no row if it is gone. $1 task.
select t.finished_at is not null, t.calling, t.attempts
from queues.task t
where t.task_id = $1;
