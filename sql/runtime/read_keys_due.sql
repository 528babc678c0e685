-- Reads the tasks with queue keys that have become ready in a span of time. $1 origin of this database, $2 its exclusive
-- begin, $3 its inclusive end, $4 limit.
(
    select
        t.task_type,
        hashtextextended(t.queue_key, 0) as digest,
        t.scheduled_at as since,
        t.priority
    from only queues.task t
    where t.origin = $1
        and t.finished_at is null
        and t.queue_key is not null
        and t.scheduled_at > $2
        and t.scheduled_at <= $3
    order by t.scheduled_at
    limit $4
)
union all
(
    select
        t.task_type,
        hashtextextended(t.queue_key, 0),
        t.not_before,
        t.priority
    from only queues.task t
    where t.finished_at is null
        and t.not_before > $2
        and t.not_before <= $3
        and t.origin = $1
        and t.queue_key is not null
    order by t.not_before
    limit $4
);
