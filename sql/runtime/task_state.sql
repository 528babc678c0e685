-- Returns the state of task $1: whether it has ended, whether it is between the steps of a provider call, and how many
-- runs its row counts. Returns no row if the task was removed.
select t.finished_at is not null as has_ended, t.calling, t.attempts
from only queues.task t
where t.task_id = $1;
