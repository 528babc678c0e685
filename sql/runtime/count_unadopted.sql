-- Counts unadopted tasks, up to $2 in each of three parts. $1 origin of this database. The conditions are written so that
-- only indexes of unfinished tasks are read.
select
    (
        select count(*)
        from (
            select 1
            from only queues.task t
            where t.origin < $1
                and t.finished_at is null
                and not t.calling
            limit $2
        ) lower
    ) + (
        select count(*)
        from (
            select 1
            from only queues.task t
            where t.origin > $1
                and t.finished_at is null
                and not t.calling
            limit $2
        ) higher
    ) + (
        select count(*)
        from (
            select 1
            from only queues.call c
            where c.request is not null
                -- This is not a join, since a plan for small tables would scan all tasks.
                and (
                    select t.origin
                    from only queues.task t
                    where t.task_id = c.task_id
                        and t.calling
                        and t.finished_at is null
                ) <> $1
            limit $2
        ) calling
    );
