-- Enqueues a task and returns its id. A worker starts the task when this transaction commits, or at _scheduled_at if
-- that is later. Raises an error if the task type is unknown or not granted to the caller, see queues.grant_enqueue.
-- The row is written with the privileges of the owner of the extension.
--
-- While there is an unfinished task of this type with the same _unique_key, no other one is enqueued. Its id is returned,
-- and _if_exists says what happens: keep (nothing), replace (payload, time and priority are replaced), debounce (the
-- same, but at most _debounce_limit after the task was first enqueued), error. If that task is running, replace and
-- debounce enqueue another one, which starts after it. With _unique_for, tasks that succeeded or failed count, too, if
-- they were enqueued within that time.
--
-- Tasks of a type with the same _queue_key take turns: in order of time, and at most max_running_per_key of the task
-- definition at once.
create function queues.enqueue(
    _task_type text,
    _payload jsonb,
    _scheduled_at timestamptz default now(),
    _unique_key text default null,
    _if_exists text default 'keep',
    _unique_for interval default null,
    _debounce_limit interval default null,
    _priority integer default 0,
    _queue_key text default null
)
returns bigint
language c
as 'MODULE_PATHNAME', 'enqueue_wrapper';

-- Enqueues many tasks and returns their ids, in order. _tasks is an array of objects whose keys are the names of the
-- arguments of queues.enqueue, with or without the leading underscore.
create function queues.enqueue_many(_tasks jsonb)
returns setof bigint
language c
as 'MODULE_PATHNAME', 'enqueue_many_wrapper';

-- Enqueues a task of one type for each payload and returns their ids, in order. The other arrays have a value for each
-- payload, or are null.
create function queues.enqueue_many(
    _task_type text,
    _payloads jsonb[],
    _scheduled_at timestamptz[] default null,
    _unique_keys text[] default null,
    _if_exists text default 'keep',
    _unique_for interval default null,
    _debounce_limit interval default null,
    _priority integer default 0,
    _queue_keys text[] default null
)
returns setof bigint
language c
as 'MODULE_PATHNAME', 'enqueue_payloads_wrapper';
