-- Reads the next ready plain tasks of a lane in order. $1 origin of this database, $2 task types with provider calls, $3 whether
-- to read those or all others, $4 and $5 scheduled_at and task_id after which to read, $6 limit, $7 time up to which to
-- read. The last is not now(), the start of the transaction: tasks that were announced later would be skipped.
select t.scheduled_at, t.task_id, t.ctid
from only queues.task t
where t.origin = $1
    and t.finished_at is null
    and not t.calling
    and t.priority is null
    and t.queue_key is null
    and (t.scheduled_at, t.task_id) > ($4, $5)
    and t.scheduled_at <= $7
    and (t.not_before is null or t.not_before <= $7)
    and (t.task_type = any ($2)) = $3
order by t.scheduled_at, t.task_id
limit $6;
