-- Whether a task has a row of a call. $1 task.
select exists (
    select 1
    from only queues.call c
    where c.task_id = $1
);
