-- Calls to providers. The row is committed before the request goes out, and the answer before the
-- success handler runs; after a crash whoever comes next goes on from there, with the same key and
-- the same request.
create table queues.call (
    task_id bigint primary key,
    -- the worker that waits for the answer
    owner bigint not null,
    provider text not null,
    -- random, or the user's own
    idempotency_key text not null,
    -- what is sent, without credentials; dropped when the task has ended
    request jsonb,
    requested_at timestamptz not null default clock_timestamp(),
    responded_at timestamptz,
    -- what the success handler is given as worker_payload
    response jsonb,
    -- or why there is no response: {"message": …, "response": …}, the latter if there was one
    failure jsonb,
    -- what went out in one request: its first task, and how many there were
    batch bigint,
    batch_size integer
);

comment on table queues.call is 'Calls to providers: the request before it is sent, the answer before it is handled';

-- Calls to take over when their worker is gone.
create index call_open on queues.call (owner)
    where request is not null;

select pg_catalog.pg_extension_config_dump('queues.call', '');
