-- The tasks of a lane that were held back until now: their place in the order has been passed. $1 the
-- origin of this database's tasks, $2 the task types that need a call, $3 whether those are wanted or
-- all others, $4 how many.
select t.scheduled_at, t.task_id, t.ctid
from only queues.task t
where t.finished_at is null
    and t.not_before is not null
    and t.not_before <= now()
    and t.origin = $1
    and not t.calling
    and t.scheduled_at <= now()
    and (t.task_type = any ($2)) = $3
order by t.not_before
limit $4;
