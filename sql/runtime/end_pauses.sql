-- Removes the pauses that are over, and returns what was paused. The row of a pause that a session is about to change
-- stays. $1 now.
with free as (
    select p.ctid
    from only queues.paused p
    where p.paused_until <= $1
    for update skip locked
)
delete from only queues.paused p
using free f
where p.ctid = f.ctid
returning errand.paused_name(p.task_type, p.provider);
