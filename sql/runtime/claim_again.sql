-- Locks a certain task, if it is still to be run. $1 task.
select
    t.task_id,
    t.task_type,
    t.payload,
    t.attempts
from only queues.task t
where t.task_id = $1
    and t.finished_at is null
    and not t.calling
    -- taken by a worker outside meanwhile
    and (t.not_before is null or t.not_before <= clock_timestamp())
for no key update skip locked;
