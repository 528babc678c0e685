-- Removes old errors among the next ones by id, as retain_tasks.sql removes tasks: those of a type are kept as long as its
-- failed tasks. $1 after this error, $2 number of errors to visit, $3 now, $4 for how many seconds errors are kept if the
-- definition of their task does not say it (null: for ever), $5 the shortest time for which any error is kept.
with visited as materialized (
    select
        e.error_id,
        e.created_at,
        errand.kept_for(d.keep_failed_for, make_interval(secs => $4)) as kept_for
    from (
        select n.error_id, n.task_type, n.created_at
        from only queues.error n
        where n.error_id > $1
        order by n.error_id
        limit $2
    ) e
    left join only queues.task_definition d on d.task_type = e.task_type
), removed as (
    delete from only queues.error e
    using visited v
    where e.error_id = v.error_id
        and v.created_at + v.kept_for < $3
    returning e.error_id
)
select
    max(v.error_id) as last,
    coalesce(bool_or(v.created_at < $3 - make_interval(secs => $5)), false) and count(*) = $2 as has_more,
    count(*) as visited,
    (
        select count(*)
        from removed
    ) as removed,
    min(v.created_at + v.kept_for + least(v.kept_for / 32, '1 hour'))
        filter (where v.created_at + v.kept_for >= $3) as next_at
from visited v;
