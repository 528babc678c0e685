-- Claims a task again, if it still has to run. $1 task.
select
    t.task_id,
    t.task_type,
    t.payload,
    t.idempotency_key,
    t.attempts,
    greatest(t.enqueued_at, t.scheduled_at) as ready_at,
    t.dequeued_at
from only queues.task t
where t.task_id = $1
    and t.finished_at is null
    and not t.calling
    -- A worker outside may have dequeued the task since.
    and (t.not_before is null or t.not_before <= clock_timestamp())
for no key update skip locked;
