-- Counts the tasks before a position that may start, the nearest first: without those that follow a task, or whose row a
-- transaction has locked. $1 origin of this database, $2 and $3 scheduled_at and task_id, $4 priority, $5 tasks that are
-- running or withheld, $6 limit, $7 types whose tasks are not counted.
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
        -- Plain tasks have priority 0: all come before a task of a negative priority.
        select 1
        from only queues.task t
        where t.origin = $1
            and t.finished_at is null
            and not t.calling
            and t.priority is null
            and t.queue_key is null
            and $4 <= 0
            and (t.scheduled_at, t.task_id) < (
                case when $4 < 0 then statement_timestamp() else $2 end,
                case when $4 < 0 then 9223372036854775807 else $3 end
            )
            and (t.not_before is null or t.not_before <= clock_timestamp())
            and t.task_id <> all ($5)
            and t.task_type <> all ($7)
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
            and t.priority > $4
            and t.scheduled_at <= statement_timestamp()
            and (t.not_before is null or t.not_before <= clock_timestamp())
            and t.task_id <> all ($5)
            and t.task_type <> all ($7)
            and coalesce((select p.finished_at is not null from only queues.task p where p.task_id = t.follows), true)
            and (t.xmax = '0' or t.xmax <> all ((select r.ids from running r)::xid[]))
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
            and (t.not_before is null or t.not_before <= clock_timestamp())
            and t.task_id <> all ($5)
            and t.task_type <> all ($7)
            and coalesce((select p.finished_at is not null from only queues.task p where p.task_id = t.follows), true)
            and (t.xmax = '0' or t.xmax <> all ((select r.ids from running r)::xid[]))
        order by t.scheduled_at desc, t.task_id desc
        limit $6
    )
    limit $6
) ahead;
