-- Returns the highest priority of unfinished tasks that is at most $2. $1 origin of this database.
select t.priority
from only queues.task t
where t.origin = $1
    and t.finished_at is null
    and not t.calling
    and t.priority is not null
    and t.queue_key is null
    and t.priority <= $2
order by t.priority desc
limit 1;
