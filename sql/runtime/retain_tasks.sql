-- Removes old finished tasks among the next ones by id. $1 after this task, $2 number of tasks to visit, $3 now, $4 for how
-- many seconds tasks are kept if their definition does not say it (null: for ever), $5 the shortest time for which any task
-- is kept. Returns the last task visited, whether to continue, the number of tasks removed, and when the first one of the
-- others should be removed: somewhat later than it may be, so that many are removed together.
with visited as materialized (
    select
        t.task_id,
        t.enqueued_at,
        t.finished_at,
        errand.kept_for(
            case when t.final_status = 'succeeded' then d.keep_succeeded_for else d.keep_failed_for end,
            make_interval(secs => $4)
        ) as kept_for
    from (
        select n.task_id, n.task_type, n.enqueued_at, n.finished_at, n.final_status
        from only queues.task n
        where n.task_id > $1
        order by n.task_id
        limit $2
    ) t
    left join only queues.task_definition d on d.task_type = t.task_type
), removed as (
    delete from only queues.task t
    using visited v
    where t.task_id = v.task_id
        and v.finished_at + v.kept_for < $3
    returning t.task_id
)
select
    max(v.task_id) as last,
    coalesce(bool_or(v.enqueued_at < $3 - make_interval(secs => $5)), false) and count(*) = $2 as has_more,
    count(*) as visited,
    (
        select count(*)
        from removed
    ) as removed,
    min(v.finished_at + v.kept_for + least(v.kept_for / 32, '1 hour'))
        filter (where v.finished_at + v.kept_for >= $3) as next_at
from visited v;
