-- Returns the calls that have not been handled, and the tasks that workers outside have leased. $1 origin of this database,
-- $2 current time.
select
    'call' as what,
    t.task_id,
    c.owner
from only queues.call c
join only queues.task t on t.task_id = c.task_id
where c.request is not null
    and t.calling
    and t.finished_at is null
    and t.origin = $1
union all
select
    'lease',
    t.task_id,
    null
from only queues.task t
where t.finished_at is null
    and t.not_before > $2
    and t.leased
    and t.origin = $1;
