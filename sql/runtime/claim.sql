-- Claims a task, if it is ready: the row lock is the claim. $1 task, $2 origin of this database, $3
-- whether it has a queue key.
select
    t.task_id,
    t.task_type,
    t.payload,
    t.idempotency_key,
    t.attempts,
    greatest(t.enqueued_at, t.scheduled_at) as ready_at,
    t.dequeued_at,
    -- Whether the end of an attempt that the row does not count could not be written: see give_up in
    -- src/worker/record.rs.
    exists (
        select 1
        from only queues.error e
        where e.task_id = t.task_id
            and e.sqlstate = '09000'
            and e.attempt > t.attempts
    ) as is_given_up,
    t.leased
from only queues.task t
where t.task_id = $1
    and t.origin = $2
    and t.finished_at is null
    and not t.calling
    and (t.queue_key is not null) = $3
    and t.scheduled_at <= clock_timestamp()
    and (t.not_before is null or t.not_before <= clock_timestamp())
    -- A task that follows another one with its unique key starts after that one's end.
    and not exists (
        select 1
        from only queues.task p
        where p.task_id = t.follows
            and p.finished_at is null
    )
for no key update skip locked;
