-- Stores a request before it is sent. $1 task, $2 owner, $3 provider, $4 idempotency key, $5 request.
insert into queues.call (task_id, owner, provider, idempotency_key, request)
values ($1, $2, $3, $4, $5);
