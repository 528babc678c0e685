-- Counts the tasks of a type that workers outside have leased, and returns the first of them. $1 task type.
select count(*) as count, min(t.task_id) as first
from only queues.task t
where t.finished_at is null
    and t.not_before > clock_timestamp()
    and t.leased
    and t.task_type = $1;
