-- Returns whether a request is stored exactly as it is sent. Parameters as in call_store.sql.
select exists (
    select 1
    from only queues.call c
    where c.task_id = $1
        and c.owner = $2
        and c.provider = $3
        and c.idempotency_key = $4
        and c.request = $5
);
