-- Ends the pauses of keys whose time has come, and returns the keys. The row of a pause that a session is about to change
-- stays. $1 now.
with free as (
    select p.task_type, p.queue_key
    from only queues.paused_key p
    where p.paused_until <= $1
    for update skip locked
),
gone as (
    delete from only queues.paused_key p
    using free f
    where p.task_type = f.task_type
        and p.queue_key = f.queue_key
)
select
    p.task_type,
    p.queue_key
from only queues.paused_key p
where p.paused_until <= $1;
