-- Reads the queue keys of unfinished tasks of a type in the order of digests, and the first task of each. $1 origin of this
-- database, $2 digest of the task type, $3 digest of the queue key after which to read, $4 the time up to which tasks are
-- due, $5 whether the tasks of a key run one after the other, $6 limit.
with recursive key (digest) as (
    (
        select hashtextextended(t.queue_key, 0)
        from only queues.task t
        where t.origin = $1
            and hashtextextended(t.task_type, 0) = $2
            and hashtextextended(t.queue_key, 0) > $3
            and t.finished_at is null
            and t.queue_key is not null
        order by hashtextextended(t.queue_key, 0)
        limit 1
    )
    union all
    -- One search in the index for each key, whatever waits in it.
    select (
        select hashtextextended(t.queue_key, 0)
        from only queues.task t
        where t.origin = $1
            and hashtextextended(t.task_type, 0) = $2
            and hashtextextended(t.queue_key, 0) > k.digest
            and t.finished_at is null
            and t.queue_key is not null
        order by hashtextextended(t.queue_key, 0)
        limit 1
    )
    from key k
    where k.digest is not null
)
select
    k.digest,
    h.scheduled_at,
    h.priority,
    h.scheduled_at <= $4
        and (not $5 or not h.calling and (h.not_before is null or h.not_before <= $4))
        and not exists (
            select 1
            from only queues.paused_key p
            where p.task_type = h.task_type
                and p.queue_key || '' = h.queue_key
                and (p.paused_until is null or p.paused_until > $4)
        ) as is_ready
from key k
cross join lateral (
    select t.task_type, t.queue_key, t.scheduled_at, t.priority, t.calling, t.not_before
    from only queues.task t
    -- See key_head.sql.
    where (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0)) >= ($1, $2, k.digest)
        and (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0)) <= ($1, $2, k.digest)
        and t.finished_at is null
        and t.queue_key is not null
    order by
        t.origin,
        hashtextextended(t.task_type, 0),
        hashtextextended(t.queue_key, 0),
        t.scheduled_at,
        t.task_id
    limit 1
) h
limit $6;
