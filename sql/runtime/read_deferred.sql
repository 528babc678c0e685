-- Reads the tasks of a lane whose deferral has ended: the cursor has passed their place in the order. $1 origin of this
-- database, $2 task types with provider calls, $3 whether to read those or all others, $4 limit.
select t.scheduled_at, t.task_id, t.ctid, t.priority
from only queues.task t
where t.finished_at is null
    and t.not_before is not null
    and t.not_before <= now()
    and t.origin = $1
    -- read_keys_due.sql reads the others.
    and t.queue_key is null
    and not t.calling
    and t.scheduled_at <= now()
    and (t.task_type = any ($2)) = $3
order by t.not_before
limit $4;
