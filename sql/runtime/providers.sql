-- Returns all providers, or the provider named $1: lane, name, and row as jsonb, with intervals in seconds.
select
    p.lane,
    p.name,
    to_jsonb(p) || jsonb_build_object(
        'timeout', extract(epoch from p.timeout)::float8,
        'idempotency_key_ttl', extract(epoch from p.idempotency_key_ttl)::float8,
        'max_wait', extract(epoch from p.max_wait)::float8,
        'breaker_cooldown', extract(epoch from p.breaker_cooldown)::float8
    )
from only queues.provider p
where $1 is null
    or p.name = $1;
