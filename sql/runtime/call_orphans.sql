-- Whether there are open calls whose worker is gone. $1 live owners, $2 owners from here on are newer than that list,
-- $3 the origin of this database's tasks.
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
