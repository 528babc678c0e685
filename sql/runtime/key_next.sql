-- Locks the first ready task of a key of which several may run at a time. $1 origin of this database, $2 and $3 digests of
-- task type and queue key, $4 tasks that are left out.
-- Conditions and order name all columns of the index task_keyed, so that no other index comes into question, by which
-- tasks of other keys would be scanned.
select t.task_id
from only queues.task t
where (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0)) >= ($1, $2, $3)
    and (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0)) <= ($1, $2, $3)
    and t.finished_at is null
    and t.queue_key is not null
    and not t.calling
    and t.scheduled_at <= clock_timestamp()
    and (t.not_before is null or t.not_before <= clock_timestamp())
    and t.task_id <> all ($4)
    -- A task that follows another one with its unique key starts after that one's end.
    and not exists (
        select 1
        from only queues.task p
        where p.task_id = t.follows
            and p.finished_at is null
    )
order by
    t.origin,
    hashtextextended(t.task_type, 0),
    hashtextextended(t.queue_key, 0),
    t.scheduled_at,
    t.task_id
limit 1
for no key update skip locked;
