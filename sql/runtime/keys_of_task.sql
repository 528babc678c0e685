-- Returns whether a task has a unique key, and the queue keys of the task and of the one that follows it, with their type. $1
-- task.
select
    t.unique_key is not null as has_unique_key,
    t.task_type,
    t.queue_key,
    (
        select f.queue_key
        from only queues.task f
        where f.unique_key = t.unique_key
            and f.task_type = t.task_type
            and f.follows = t.task_id
            and f.finished_at is null
        limit 1
    ) as next_queue_key
from only queues.task t
where t.task_id = $1
    and (t.unique_key is not null or t.queue_key is not null);
