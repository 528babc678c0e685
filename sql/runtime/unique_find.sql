-- Finds the last unfinished task with a unique key. $1 task type, $2 unique key, $3 origin of this database, $4 a task
-- that does not count. The expressions are those of the index task_unique.
select
    t.task_id,
    t.calling or (t.leased and t.not_before > clock_timestamp()) as is_under_way
from only queues.task t
where t.unique_key = $2
    and t.task_type = $1
    and t.origin = $3
    and case when t.finished_at is not null then t.task_id end is null
    and t.task_id <> $4
    and not exists (
        select 1
        from only queues.task f
        where f.unique_key = $2
            and f.task_type = $1
            and f.origin = $3
            and case when f.finished_at is not null then f.task_id end is null
            and f.follows = t.task_id
            and f.task_id <> $4
    )
limit 1;
