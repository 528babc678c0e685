-- Returns whether the call of a task is open and belongs to a worker. $1 task, $2 owner.
select exists (
    select 1
    from only queues.task t
    join only queues.call c on c.task_id = t.task_id
    where t.task_id = $1
        and t.calling
        and t.finished_at is null
        and c.owner = $2
);
