-- Enqueues a task and returns its id. A worker starts it as this transaction commits, or when
-- _scheduled_at has come. Unknown task types are refused at once, and
-- those that the caller may not enqueue (queues.grant_enqueue); the row is written with the rights of the
-- extension's owner.
create function queues.enqueue(
    _task_type text,
    _payload jsonb,
    _scheduled_at timestamptz default now()
)
returns bigint
language c
as 'MODULE_PATHNAME', 'enqueue_task';
