-- Reads the next ready tasks of a priority of a lane in order. $1 to $7 as in read.sql, $8 priority.
select t.scheduled_at, t.task_id, t.ctid
from only queues.task t
where t.origin = $1
    and t.finished_at is null
    and not t.calling
    and t.priority = $8
    and t.queue_key is null
    and (t.scheduled_at, t.task_id) > ($4, $5)
    and t.scheduled_at <= $7
    and (t.not_before is null or t.not_before <= $7)
    and (t.task_type = any ($2)) = $3
order by t.scheduled_at, t.task_id
limit $6;
