-- Calls to providers. A row is committed before its request is sent, and its response before the success handler is
-- invoked. If the worker no longer exists after a crash, another worker takes the call over and continues it with the
-- same idempotency key and the same request.
create table queues.call (
    task_id bigint primary key,
    -- the identity of the worker that waits for the response
    owner bigint not null,
    provider text not null,
    -- random, or taken from the payload
    idempotency_key text not null,
    -- the request without credentials; null after the task has ended
    request jsonb,
    requested_at timestamptz not null default clock_timestamp(),
    responded_at timestamptz,
    -- the worker_payload of the success handler
    response jsonb,
    -- why the call failed: {"message": …, "response": …}; the latter only if there was a response
    failure jsonb,
    -- the first task of the batch with which the request went out; null if it went out alone
    batch bigint,
    -- the number of tasks in that batch
    batch_size integer
);

comment on table queues.call is 'Calls to providers: requests before they are sent, responses before they are handled';

-- Open calls by worker, so that orphaned ones can be taken over.
create index call_open on queues.call (owner)
    where request is not null;

select pg_catalog.pg_extension_config_dump('queues.call', '');
