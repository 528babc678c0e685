-- Removes old errors among the next ones in order. $1 after this error, $2 recorded before, $3 how
-- many to look at. Returns the last one looked at, and whether to go on.
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
