-- Returns the first two unfinished tasks of a key, in order, and how many of its tasks are between the steps of a call or
-- leased. $1 origin of this database, $2 and $3 digests of task type and queue key, $4 and $5 scheduled_at and task_id
-- after which to look.
-- Conditions and order name all columns of the index task_keyed, so that no other index comes into question, by which
-- tasks of other keys would be scanned.
select
    t.task_id,
    t.task_type,
    t.ctid,
    t.scheduled_at,
    t.priority,
    t.scheduled_at <= clock_timestamp() as is_due,
    not t.calling
        and (t.not_before is null or t.not_before <= clock_timestamp()) as is_free,
    exists (
        select 1
        from only queues.paused_key p
        where p.task_type = t.task_type
            and p.queue_key || '' = t.queue_key
            and (p.paused_until is null or p.paused_until > clock_timestamp())
    ) as is_paused,
    (
        select count(*)
        from only queues.task b
        where b.origin = $1
            and hashtextextended(b.task_type, 0) = $2
            and hashtextextended(b.queue_key, 0) = $3
            and b.finished_at is null
            and b.queue_key is not null
            and (b.calling or b.leased)
            and (b.calling or b.not_before > clock_timestamp())
    ) as busy
from only queues.task t
where (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0), t.scheduled_at, t.task_id)
        > ($1, $2, $3, $4, $5)
    and (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0)) <= ($1, $2, $3)
    and t.finished_at is null
    and t.queue_key is not null
order by
    t.origin,
    hashtextextended(t.task_type, 0),
    hashtextextended(t.queue_key, 0),
    t.scheduled_at,
    t.task_id
limit 2;
