-- Returns whether a task with a queue key is due. $1 origin of this database.
select exists (
    select 1
    from only queues.task t
    where t.origin = $1
        and t.finished_at is null
        and t.queue_key is not null
        and t.scheduled_at <= clock_timestamp()
);
