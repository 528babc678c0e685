-- Removes old errors among the next ones by id. $1 after this error, $2 recorded before this time, $3 number of errors to
-- visit. Returns the last error visited, and whether to continue.
with visited as (
    select e.error_id, e.created_at
    from only queues.error e
    where e.error_id > $1
    order by e.error_id
    limit $3
), removed as (
    delete from only queues.error e
    using visited v
    where e.error_id = v.error_id
        and v.created_at < $2
)
select
    max(v.error_id) as last,
    coalesce(bool_or(v.created_at < $2), false) and count(*) = $3 as has_more
from visited v;
