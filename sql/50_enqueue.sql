-- Enqueues a task and returns its id. A worker starts it as this transaction commits, or when
-- _scheduled_at has come. Unknown task types are refused at once.
create function queues.enqueue(
    _task_type text,
    _payload jsonb,
    _scheduled_at timestamptz default now()
)
returns bigint
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    insert into queues.task (task_type, payload, scheduled_at)
    values (
        _task_type,
        coalesce(_payload, '{}'),
        coalesce(_scheduled_at, now())
    )
    returning task_id;
$$;
