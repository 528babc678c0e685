-- When a task becomes ready by time alone (null: none will), and whether no prepared transaction
-- can bring one.
select
    least(
        (
            select min(t.scheduled_at)
            from queues.task t
            where t.finished_at is null
                and not t.calling
                and t.scheduled_at > now()
        ),
        (
            select min(t.held_until)
            from queues.task t
            where t.finished_at is null
                and t.held_until > now()
        )
    ),
    not exists (
        select 1
        from pg_prepared_xacts p
        where p.database = current_database()
    );
