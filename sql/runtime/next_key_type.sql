-- Returns the next task type that has unfinished tasks with queue keys, in the order of digests. $1 origin of this
-- database, $2 the least digest.
select
    hashtextextended(t.task_type, 0),
    t.task_type
from only queues.task t
where t.origin = $1
    and hashtextextended(t.task_type, 0) >= $2
    and t.finished_at is null
    and t.queue_key is not null
order by hashtextextended(t.task_type, 0)
limit 1;
