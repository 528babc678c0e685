-- Returns whether the queue key of a task is paused, and which tasks keep it busy as far as the rows say. $1 origin of
-- this database, $2 task type, $3 queue key, $4 and $5 scheduled_at and task_id of the task.
select
    paused.task_type is not null as is_paused,
    paused.paused_until,
    (
        select t.task_id
        from only queues.task t
        -- See key_head.sql.
        where (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                >= ($1, hashtextextended($2, 0), hashtextextended($3, 0))
            and (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                <= ($1, hashtextextended($2, 0), hashtextextended($3, 0))
            and t.finished_at is null
            and t.queue_key is not null
            and (t.scheduled_at, t.task_id) < ($4, $5)
        order by
            t.origin,
            hashtextextended(t.task_type, 0),
            hashtextextended(t.queue_key, 0),
            t.scheduled_at,
            t.task_id
        limit 1
    ) as predecessor,
    busy.number as busy,
    busy.first as first_busy
from (
    select count(*) as number, min(t.task_id) as first
    from only queues.task t
    where t.origin = $1
        and t.finished_at is null
        and t.queue_key is not null
        and (t.calling or t.leased)
        and (t.calling or t.not_before > clock_timestamp())
        and hashtextextended(t.task_type, 0) = hashtextextended($2, 0)
        and hashtextextended(t.queue_key, 0) = hashtextextended($3, 0)
        and t.task_id <> $5
) busy
left join only queues.paused_key paused on paused.task_type = $2
    and paused.queue_key || '' = $3
    and (paused.paused_until is null or paused.paused_until > clock_timestamp());
