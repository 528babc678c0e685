-- Counts the tasks that workers outside have leased: those of a type, and all. $1 task type, $2 current time.
select
    count(*) filter (where t.task_type = $1) as of_type,
    count(*) as all_types
from only queues.task t
where t.finished_at is null
    and t.not_before > $2
    and t.leased;
