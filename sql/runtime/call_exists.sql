-- Returns whether a task has a call. $1 task.
select exists (
    select 1
    from only queues.call c
    where c.task_id = $1
);
