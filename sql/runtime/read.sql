-- The next ready tasks of a lane, in order. $1 the origin of this database's tasks, $2 the task types
-- that need a call, $3 whether those are wanted or all others, $4 and $5 after which scheduled_at and
-- task_id, $6 how many, $7 up to which time: now() would be when the transaction began, and what was
-- announced since would be passed over.
select t.scheduled_at, t.task_id, t.ctid
from only queues.task t
where t.origin = $1
    and t.finished_at is null
    and not t.calling
    and (t.scheduled_at, t.task_id) > ($4, $5)
    and t.scheduled_at <= $7
    and (t.not_before is null or t.not_before <= $7)
    and (t.task_type = any ($2)) = $3
order by t.scheduled_at, t.task_id
limit $6;
