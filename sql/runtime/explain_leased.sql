-- Counts the tasks of types that workers outside have leased, and returns the first of each type. $1 task types.
select t.task_type, count(*) as count, min(t.task_id) as first
from only queues.task t
where t.finished_at is null
    and t.not_before > clock_timestamp()
    and t.leased
    and t.task_type = any ($1)
group by t.task_type;
