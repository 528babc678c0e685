-- Counts the tasks of a type and a priority before a position that may start, the nearest first. $1 to $6 as in
-- explain_ahead.sql, $7 type.
with running as materialized (
    -- transactions that have not ended
    select array(
        select l.transactionid
        from pg_catalog.pg_locks l
        where l.locktype = 'transactionid'
            and l.granted
            and l.mode = 'ExclusiveLock'
    ) as ids
)
select count(*)
from (
    (
        -- Plain tasks have priority 0.
        select 1
        from only queues.task t
        where t.origin = $1
            and t.finished_at is null
            and not t.calling
            and t.priority is null
            and t.queue_key is null
            and $4 = 0
            and (t.scheduled_at, t.task_id) < ($2, $3)
            and t.scheduled_at <= statement_timestamp()
            and (t.not_before is null or t.not_before <= clock_timestamp())
            and t.task_id <> all ($5)
            and t.task_type = $7
            and coalesce((select p.finished_at is not null from only queues.task p where p.task_id = t.follows), true)
            and (t.xmax = '0' or t.xmax <> all ((select r.ids from running r)::xid[]))
        order by t.scheduled_at desc, t.task_id desc
        limit $6
    )
    union all
    (
        select 1
        from only queues.task t
        where t.origin = $1
            and t.finished_at is null
            and not t.calling
            and t.priority is not null
            and t.queue_key is null
            and t.priority = $4
            and (t.scheduled_at, t.task_id) < ($2, $3)
            and t.scheduled_at <= statement_timestamp()
            and (t.not_before is null or t.not_before <= clock_timestamp())
            and t.task_id <> all ($5)
            and t.task_type = $7
            and coalesce((select p.finished_at is not null from only queues.task p where p.task_id = t.follows), true)
            and (t.xmax = '0' or t.xmax <> all ((select r.ids from running r)::xid[]))
        order by t.scheduled_at desc, t.task_id desc
        limit $6
    )
    limit $6
) ahead;
