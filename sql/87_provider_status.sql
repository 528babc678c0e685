-- What shared memory knows about the providers of this database. Views call functions with the privileges of the role that
-- reads them, so PUBLIC may execute this function; it requires SELECT on the view. There are no rows on a standby and
-- where the library is not preloaded.
create function errand.provider_state(
    out name text,
    out in_flight integer,
    out retry_after timestamptz,
    out next_request_at timestamptz,
    out breaker text,
    out breaker_until timestamptz,
    out consecutive_failures integer,
    out last_failure_at timestamptz,
    out last_status integer,
    out state text,
    -- why no request can be sent, if a secret cannot be looked up; never the secret
    out secret_problem text
)
returns setof record
stable
strict
language c
as 'MODULE_PATHNAME', 'provider_state_wrapper';

-- The providers of this database, and what keeps requests from being sent to them. What shared memory knows is null on a
-- standby and where the library is not preloaded.
create view queues.provider_status as
select
    p.name,
    p.interface,
    case
        when paused.paused_at is not null then 'paused'
        -- Most databases use few of the built-in providers, so these matter only if a call has failed.
        when s.secret_problem is not null and (not p.built_in or s.last_failure_at is not null) then 'secret_missing'
        else s.state
    end as state,
    s.in_flight,
    -- stored requests that have not been sent
    case when s.name is not null then greatest(open.calls - s.in_flight, 0) end as queued,
    case when paused.paused_at is not null then paused.paused_until else s.retry_after end as paused_until,
    case
        when paused.paused_at is not null then 'operator'
        when s.retry_after is not null then 'retry_after'
    end as pause_reason,
    paused.paused_by,
    paused.reason as paused_why,
    s.next_request_at,
    s.breaker,
    s.breaker_until,
    s.consecutive_failures,
    s.last_failure_at,
    s.last_status
from only queues.provider p
left join errand.provider_state() s on s.name = p.name
left join lateral (
    select d.paused_at, d.paused_until, d.paused_by, d.reason
    from only queues.paused d
    where d.provider = p.name
        and (d.paused_until is null or d.paused_until > clock_timestamp())
) paused on true
left join lateral (
    select count(*) as calls
    from only queues.call c
    join only queues.task t on t.task_id = c.task_id
    where c.request is not null
        and c.responded_at is null
        and c.provider = p.name
        and t.calling
        and t.finished_at is null
        and t.origin = (select errand.queue_origin())
) open on true;

comment on view queues.provider_status is 'Providers of this database: what is in flight, waits, is paused, limited or broken, and until when';
comment on column queues.provider_status.state is 'ok, paused, secret_missing, broken, probing, full or rate_limited; null where no worker can run';
comment on column queues.provider_status.queued is 'Stored requests that have not been sent';
comment on column queues.provider_status.pause_reason is 'operator (queues.pause_provider) or retry_after (the provider has asked for it)';
comment on column queues.provider_status.next_request_at is 'When the rate limit admits the next request; null: now';
comment on column queues.provider_status.breaker is 'closed, open or half_open; null: the provider has no circuit breaker';
comment on column queues.provider_status.last_status is 'The HTTP status of the last failure; null: there was no response';
