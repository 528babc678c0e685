-- Enqueues a task and returns its id. A worker starts the task when this transaction commits, or at _scheduled_at if
-- that is later. Raises an error if the task type is unknown or not granted to the caller, see queues.grant_enqueue.
-- The row is written with the privileges of the owner of the extension.
create function queues.enqueue(
    _task_type text,
    _payload jsonb,
    _scheduled_at timestamptz default now()
)
returns bigint
language c
as 'MODULE_PATHNAME', 'enqueue_wrapper';
