-- Locks a task whose call has a response or has failed, for its last step. $1 task, $2 owner.
select
    t.task_id,
    t.task_type,
    t.payload,
    t.attempts,
    greatest(t.enqueued_at, t.scheduled_at) as ready_at,
    t.dequeued_at,
    c.response,
    c.failure
from only queues.task t
join only queues.call c on c.task_id = t.task_id
where t.task_id = $1
    and t.calling
    and t.finished_at is null
    and c.owner = $2
    and c.responded_at is not null
for no key update of t skip locked;
