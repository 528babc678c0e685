-- Removes finished tasks among the next ones by id, and their errors. $1 after this task, $2 number of tasks to visit, $3
-- how long ago they ended, $4 their final status; null: any. Returns the last task visited, whether to continue, and the
-- number of tasks removed.
with visited as (
    select t.task_id, t.enqueued_at, t.finished_at, t.final_status
    from only queues.task t
    where t.task_id > $1
    order by t.task_id
    limit $2
), removed as (
    delete from only queues.task t
    using visited v
    where t.task_id = v.task_id
        and v.finished_at <= now() - $3
        and ($4 is null or v.final_status = $4)
    returning t.task_id
), forgotten as (
    delete from only queues.error e
    using removed r
    where e.task_id = r.task_id
)
select
    max(v.task_id) as last,
    coalesce(bool_or(v.enqueued_at <= now() - $3), false) and count(*) = $2 as has_more,
    count(*) as visited,
    (
        select count(*)
        from removed
    ) as removed,
    null::timestamptz as next_at
from visited v;
