-- Removes old errors, oldest first. $1 recorded before, $2 at most.
delete from queues.error
where error_id in (
    select e.error_id
    from (
        select x.error_id, x.created_at
        from queues.error x
        order by x.error_id
        limit $2
    ) e
    where e.created_at < $1
);
