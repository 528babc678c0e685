-- Returns whether the request of a call is still stored. $1 task.
select exists (
    select 1
    from only queues.call c
    where c.task_id = $1
        and c.request is not null
);
