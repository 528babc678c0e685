-- Removes old finished tasks among the next ones by id. $1 after this task, $2 finished before this time, $3 number of
-- tasks to visit. Returns the last task visited, and whether to continue.
with visited as (
    select t.task_id, t.enqueued_at, t.finished_at
    from only queues.task t
    where t.task_id > $1
    order by t.task_id
    limit $3
), removed as (
    delete from only queues.task t
    using visited v
    where t.task_id = v.task_id
        and v.finished_at < $2
)
select
    max(v.task_id) as last,
    coalesce(bool_or(v.enqueued_at < $2), false) and count(*) = $3 as has_more
from visited v;
