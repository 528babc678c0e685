-- Finds the last task with a unique key that has succeeded or failed, if it was enqueued within a time. $1 task type, $2
-- unique key, $3 origin of this database, $4 the time. The expression is that of the index task_unique.
select l.task_id
from (
    select t.task_id, t.enqueued_at
    from only queues.task t
    where t.unique_key = $2
        and t.task_type = $1
        and t.origin = $3
        and case when t.finished_at is not null then t.task_id end is not null
        and t.final_status in ('succeeded', 'failed')
    order by case when t.finished_at is not null then t.task_id end desc
    limit 1
) l
where l.enqueued_at > now() - $4;
