-- Locks the next ready task: the row lock is the claim. $1: task types to leave alone. $2: tasks to
-- leave alone. $3: whether to tell if there is more. $4: the origin of this database's tasks.
select
    t.task_id,
    t.task_type,
    t.payload,
    t.attempts,
    t.payload ->> 'db_function',
    t.payload ->> 'before_handler',
    t.payload ->> 'success_handler',
    t.payload ->> 'error_handler',
    $3 and exists (
        select 1
        from queues.task further
        where further.origin = t.origin
            and further.finished_at is null
            and not further.calling
            and further.scheduled_at <= now()
            and (further.held_until is null or further.held_until <= now())
            and (further.scheduled_at, further.task_id) > (t.scheduled_at, t.task_id)
    )
from queues.task t
where t.origin = $4
    and t.finished_at is null
    and not t.calling
    and t.scheduled_at <= now()
    and (t.held_until is null or t.held_until <= now())
    and t.task_type <> all ($1)
    and t.task_id <> all ($2)
order by t.scheduled_at, t.task_id
limit 1
for no key update skip locked;
