-- Returns all task definitions, with the names of grantees.
select
    d.task_type,
    d.processor,
    d.provider,
    d.provider_setting,
    array(
        select g.grantee::text
        from unnest(d.granted_to) as g (grantee)
        where g.grantee is not null
    ),
    -- Tables of version 0.5.0 lack these columns until the extension is updated.
    (to_jsonb(d) ->> 'max_running')::integer,
    (to_jsonb(d) ->> 'starts_per_second')::float8,
    (to_jsonb(d) ->> 'burst')::integer,
    (to_jsonb(d) ->> 'max_running_per_key')::integer,
    (to_jsonb(d) ->> 'starts_per_second_per_key')::float8,
    -- In microseconds. What does not fit is not allowed, either.
    greatest(least(extract(epoch from (to_jsonb(d) ->> 'priority_ages_every')::interval) * 1000000, 1e17), 0)::bigint,
    (to_jsonb(d) ->> 'redact_payload')::boolean
from only queues.task_definition d
order by d.task_type;
