-- Returns the next time at which a task becomes ready without being announced (null: none), and whether there are no
-- prepared transactions. $1 time up to which ready tasks have been read, $2 origin of this database.
with recursive level (priority) as (
    -- The priorities in use, each found by one search in the index.
    select max(t.priority)
    from only queues.task t
    where t.origin = $2
        and t.finished_at is null
        and not t.calling
        and t.priority is not null
        and t.queue_key is null
    union all
    select (
        select max(t.priority)
        from only queues.task t
        where t.origin = $2
            and t.finished_at is null
            and not t.calling
            and t.priority is not null
            and t.queue_key is null
            and t.priority < l.priority
    )
    from level l
    where l.priority is not null
)
select
    least(
        (
            select t.scheduled_at
            from only queues.task t
            where t.origin = $2
                and t.finished_at is null
                and not t.calling
                and t.priority is null
                and t.queue_key is null
                and t.scheduled_at > $1
            order by t.scheduled_at
            limit 1
        ),
        (
            select min(due.scheduled_at)
            from level l
            cross join lateral (
                select t.scheduled_at
                from only queues.task t
                where t.origin = $2
                    and t.finished_at is null
                    and not t.calling
                    and t.priority = l.priority
                    and t.queue_key is null
                    and t.scheduled_at > $1
                order by t.scheduled_at
                limit 1
            ) due
        ),
        (
            select t.scheduled_at
            from only queues.task t
            where t.origin = $2
                and t.finished_at is null
                and t.queue_key is not null
                and t.scheduled_at > $1
            order by t.scheduled_at
            limit 1
        ),
        (
            select t.not_before
            from only queues.task t
            where t.finished_at is null
                and t.not_before > $1
                and t.origin = $2
            order by t.not_before
            limit 1
        ),
        (
            select min(p.paused_until)
            from only queues.paused_key p
            where p.paused_until > $1
        )
    ) as next_due,
    not exists (
        select 1
        from pg_prepared_xacts p
        where p.database = current_database()
    ) as nothing_prepared;
