-- Returns whether a task with a queue key may start. $1 origin of this database, $2 tasks that are running or withheld, $3 types
-- whose tasks may not start.
select exists (
    select 1
    from only queues.task t
    where t.origin = $1
        and t.finished_at is null
        and t.queue_key is not null
        and t.scheduled_at <= clock_timestamp()
        and (t.not_before is null or t.not_before <= clock_timestamp())
        and not t.calling
        and t.task_id <> all ($2)
        and t.task_type <> all ($3)
        and not exists (
            select 1
            from only queues.paused_key p
            where p.task_type = t.task_type
                and p.queue_key || '' = t.queue_key
                and (p.paused_until is null or p.paused_until > clock_timestamp())
        )
);
