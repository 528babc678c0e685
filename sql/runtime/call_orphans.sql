-- Returns whether there are orphaned calls. $1 live owners, $2 first owner that is newer than that list, $3 origin of
-- this database.
select exists (
    select 1
    from only queues.call o
    join only queues.task t on t.task_id = o.task_id
    where o.request is not null
        and o.owner < $2
        and o.owner <> all ($1)
        and t.calling
        and t.finished_at is null
        and t.origin = $3
);
