-- Returns what the rows say about a task, and who has locked it. $1 task_id. The transaction of a locker holds a lock on
-- its own number, which is found without waiting. An old number of a lock that is gone is in no lock.
select
    t.task_type,
    t.scheduled_at,
    t.not_before,
    t.leased,
    t.calling,
    t.dequeued_at,
    t.finished_at,
    t.final_status,
    t.origin,
    coalesce(t.priority, 0::smallint) as priority,
    t.queue_key,
    (
        select p.task_id
        from only queues.task p
        where p.task_id = t.follows
            and p.finished_at is null
    ) as predecessor,
    coalesce(uncommitted.is_mine, false) as is_uncommitted,
    locker.pid as locked_by,
    c.owner,
    c.provider,
    c.responded_at is not null as has_response,
    (
        select e.extversion
        from pg_catalog.pg_extension e
        where e.extname = 'pg_errand'
    ) as version
from only queues.task t
left join only queues.call c on c.task_id = t.task_id
    and c.request is not null
left join lateral (
    select coalesce(l.pid, 0) as pid
    from pg_catalog.pg_locks l
    where t.finished_at is null
        and t.xmax <> '0'
        and l.locktype = 'transactionid'
        and l.granted
        and l.mode = 'ExclusiveLock'
        and l.transactionid = t.xmax
    limit 1
) locker on true
left join lateral (
    select true as is_mine
    from pg_catalog.pg_locks l
    where pg_catalog.pg_current_xact_id_if_assigned() is not null
        and l.locktype = 'transactionid'
        and l.granted
        and l.pid = pg_catalog.pg_backend_pid()
        and l.transactionid = t.xmin
    limit 1
) uncommitted on true
where t.task_id = $1;
