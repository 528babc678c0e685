-- 0.6.0 to 0.8.0. What it makes of an installed 0.6.0 has to be what sql/ installs, see tests/upgrade.rs.

set local search_path = pg_catalog, pg_temp;

alter table queues.task
    add column retry_of bigint,
    add column retried_as bigint,
    add column idempotency_key text;
alter table queues.task set (autovacuum_vacuum_scale_factor = 0.05);
alter table queues.error set (autovacuum_vacuum_scale_factor = 0.05);
alter table queues.task_definition
    add column keep_succeeded_for interval,
    add column keep_failed_for interval,
    add column redact_payload boolean not null default false;

-- Tasks that failed or were cancelled, by the status and then the latest.
create index task_not_succeeded on queues.task (final_status, task_id)
    where finished_at is not null and final_status <> 'succeeded';

-- The latest errors.
create index error_created_at on queues.error (created_at);

-- Without a task type and a provider, the database is paused.
create table queues.paused (
    task_type text check (task_type <> ''),
    provider text check (provider <> ''),
    -- when the pause ends; null: with queues.resume or queues.resume_provider
    paused_until timestamptz,
    reason text,
    paused_by text not null default session_user,
    paused_at timestamptz not null default clock_timestamp(),
    check (num_nonnulls(task_type, provider) <= 1)
);

-- With a primary key, foreign keys of users could refer to the table: their actions would run in the functions below.
create unique index paused_unique on queues.paused ((task_type || ''), (provider || '')) nulls not distinct;
-- A publication of all tables needs it.
alter table queues.paused replica identity full;

select pg_catalog.pg_extension_config_dump('queues.paused', '');

-- A row for each minute of the last day, and for each hour of the last 90 days, in which tasks or calls ended. Workers write
-- and remove the rows. They are about this server, so a dump does not contain them.
create table queues.stats_history (
    -- the beginning of the minute or hour
    at timestamptz not null,
    resolution text not null,
    succeeded bigint not null,
    failed bigint not null,
    cancelled bigint not null,
    repeated bigint not null,
    errors bigint not null,
    calls bigint not null,
    failed_calls bigint not null,
    waiting_p50 double precision,
    waiting_p95 double precision,
    waiting_p99 double precision,
    running_p50 double precision,
    running_p95 double precision,
    running_p99 double precision,
    provider_p50 double precision,
    provider_p95 double precision,
    provider_p99 double precision,
    -- the number of workers that were busy when the row was written; of an hour, the largest number
    busy_workers integer not null,
    -- the same by task type ("types") and by provider ("providers"), with histograms of microseconds
    details jsonb not null
);

create index stats_history_at on queues.stats_history (resolution, at);
-- A publication of all tables needs it.
alter table queues.stats_history replica identity full;


-- Raises an error unless there is such a task type.
create function errand.check_task_type(_task_type text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (select 1 from only queues.task_definition d where d.task_type = _task_type) then
        raise exception 'unknown task type "%"', coalesce(_task_type, '')
            using errcode = 'invalid_parameter_value',
                  hint = 'Known task types are the rows of queues.task_definition.';
    end if;
end;
$$;

-- Raises an error if the time for which finished tasks are kept is not valid.
create function errand.check_kept_for(_task_type text, _name text, _kept_for interval)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if _kept_for < '0' or _kept_for > '10000 years' then
        raise exception 'task type "%": % cannot be negative, or more than 10000 years', _task_type, _name
            using errcode = 'invalid_parameter_value',
                  hint = 'Use null for pg_errand.retention, and 0 for tasks that are kept for ever.';
    end if;
end;
$$;

-- How long finished tasks are kept: what their definition says, or else _default; null: for ever. A time that
-- errand.check_kept_for refuses counts as none: a row may have been written while its trigger was disabled.
create function errand.kept_for(_defined interval, _default interval)
returns interval
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select nullif(
        case when _defined between '0' and '10000 years' then _defined else _default end,
        '0'
    );
$$;

-- Checks a task definition.
create or replace function errand.task_definition_before_write_checked()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if new.task_type !~ '^[a-z][a-z0-9_.-]{0,62}$' then
        raise exception 'task type "%" is not a valid name', new.task_type
            using errcode = 'invalid_parameter_value',
                  hint = 'Use up to 63 lower case letters, digits, "_", "." and "-", beginning with a letter.';
    end if;
    if new.processor not in ('call', 'db_function') then
        raise exception 'there is no processor "%"', new.processor
            using errcode = 'invalid_parameter_value',
                  hint = 'Use call or db_function.';
    end if;
    if new.processor = 'call' and new.provider is null and new.provider_setting is null then
        raise exception 'task type "%" needs a provider', new.task_type
            using errcode = 'invalid_parameter_value',
                  hint = 'Name one of queues.provider, or use the processor db_function.';
    end if;
    if new.provider_setting not in ('pg_errand.email_provider', 'pg_errand.sms_provider') then
        raise exception 'the setting "%" names no provider', new.provider_setting
            using errcode = 'invalid_parameter_value',
                  hint = 'Use pg_errand.email_provider or pg_errand.sms_provider.';
    end if;
    if tg_op = 'UPDATE'
        and old.built_in
        and (new.task_type, new.processor) <> (old.task_type, old.processor)
        and not errand.replicates()
    then
        raise exception 'task type "%" is built in: neither its name nor its processor can be changed', old.task_type
            using errcode = 'dependent_objects_still_exist',
                  hint = 'Insert a task type of another name.';
    end if;
    perform errand.check_start_limit(new.task_type, 'max_running', new.max_running);
    perform errand.check_start_limit(new.task_type, 'starts_per_second', new.starts_per_second);
    perform errand.check_start_limit(new.task_type, 'burst', new.burst);
    perform errand.check_start_limit(new.task_type, 'starts_per_second_per_key', new.starts_per_second_per_key);
    if new.max_running_per_key < 1 then
        raise exception 'task type "%": max_running_per_key has to be 1 or more', new.task_type
            using errcode = 'invalid_parameter_value',
                  hint = 'With 1, the tasks of a key run one after the other.';
    end if;
    if extract(epoch from new.priority_ages_every) not between 0.000001 and 366 * 86400 then
        raise exception 'task type "%": priority_ages_every has to be above 0, and at most 366 days', new.task_type
            using errcode = 'invalid_parameter_value',
                  hint = 'Use null for a priority that does not rise.';
    end if;
    perform errand.check_kept_for(new.task_type, 'keep_succeeded_for', new.keep_succeeded_for);
    perform errand.check_kept_for(new.task_type, 'keep_failed_for', new.keep_failed_for);
    -- Removes roles that do not exist.
    new.granted_to := array(
        select g.grantee
        from unnest(new.granted_to) with ordinality as g (grantee, position)
        where g.grantee::text <> 'none'
        order by g.position
    );
    -- Only a warning is raised, since the provider may follow later while a dump is restored.
    if new.provider is not null and not exists (select 1 from only queues.provider p where p.name = new.provider) then
        raise warning 'task type "%" names provider "%", which does not exist', new.task_type, new.provider
            using hint = 'Insert it into queues.provider; until then such tasks are refused.';
    end if;
    if tg_op = 'INSERT' or new.provider is distinct from old.provider then
        perform errand.check_serves(new.task_type, to_jsonb(p))
        from only queues.provider p
        where p.name = new.provider;
    end if;
    return new;
end;
$$;

-- Returns the response of a provider, in the form that the success handler receives. For a call that failed, returns
-- {"error": …} with the response if there was one. Returns null if the task has no call, or no response yet.
create or replace function queues.result(task_id bigint)
returns jsonb
stable
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(
        c.response,
        jsonb_build_object('error', c.failure -> 'message')
            || case jsonb_typeof(c.failure -> 'response') when 'object' then c.failure -> 'response' else '{}' end
    )
    from only queues.call c
    where c.task_id = result.task_id
        and c.responded_at is not null
        -- Otherwise the response was redacted.
        and (c.response is not null or c.failure is not null);
$$;

-- Raises an error unless there is such a task type and the key is one that a task can have.
create or replace function errand.check_key(_task_type text, _queue_key text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform errand.check_task_type(_task_type);
    if coalesce(_queue_key, '') = '' then
        raise exception 'a queue key cannot be empty'
            using errcode = 'invalid_parameter_value',
                  hint = 'Name the key that tasks were enqueued with (_queue_key).';
    end if;
    if octet_length(_queue_key) > 512 then
        raise exception 'the queue key has % bytes', octet_length(_queue_key)
            using errcode = 'invalid_parameter_value',
                  hint = 'A queue key has at most 512 bytes, so no task has this one.';
    end if;
end;
$$;

-- What is left of a payload: the names of its handlers.
create function errand.redacted(_payload jsonb)
returns jsonb
language sql
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_object_agg(f.name, f.value), '{}')
    from jsonb_each(case when jsonb_typeof(_payload) = 'object' then _payload else '{}' end) as f (name, value)
    where f.name in ('db_function', 'before_handler', 'success_handler', 'error_handler')
        and jsonb_typeof(f.value) = 'string';
$$;

-- Redacts a task that has succeeded, if its type requires it. Raises an error if a trigger or rule has prevented that.
create function errand.redact(_task_id bigint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _payload jsonb;
begin
    update only queues.task t
    set payload = errand.redacted(t.payload)
    where t.task_id = _task_id
        and t.final_status = 'succeeded'
        and exists (
            select 1
            from only queues.task_definition d
            where d.task_type = t.task_type
                and d.redact_payload
        );

    select t.payload
    into _payload
    from only queues.task t
    join only queues.task_definition d on d.task_type = t.task_type
    where t.task_id = _task_id
        and t.final_status = 'succeeded'
        and d.redact_payload;
    if not found then
        return;
    end if;
    if _payload <> errand.redacted(_payload) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    update only queues.call
    set request = null,
        response = null
    where task_id = _task_id;
    if exists (
        select 1
        from only queues.call c
        where c.task_id = _task_id
            and (c.request is not null or c.response is not null)
    ) then
        perform errand.refuse_unwritten('queues.call');
    end if;
end;
$$;

-- Dequeues the next ready task of these types, the first one of the highest priority, with a lease. Returns one row, with
-- nulls if no task is ready. By default the types are db_function, email and sms, which every worker outside supports.
-- With pg_errand.lease_duration = 0 the task has succeeded as soon as it is dequeued.
create or replace function queues.dequeue_next_available_task(
    _task_types text[] default null,
    out task_id bigint,
    out task_type text,
    out payload jsonb,
    out enqueued_at timestamptz,
    out scheduled_at timestamptz,
    out dequeued_at timestamptz
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    _lease interval := coalesce(current_setting('pg_errand.lease_duration', true), '5min')::interval;
    _now timestamptz;
    _leased_until timestamptz;
    _next bigint;
    _type text;
    _was_leased boolean;
    _unknown text;
    _types text[] := coalesce(_task_types, '{db_function,email,sms}');
    _paused text[];
    _limited text[];
    _attempts integer;
begin
    if _task_types is not null then
        select min(wanted.name)
        into _unknown
        from unnest(_task_types) as wanted (name)
        where not exists (select 1 from only queues.task_definition d where d.task_type = wanted.name);
        if _unknown is not null then
            raise exception 'unknown task type "%"', _unknown
                using errcode = 'invalid_parameter_value',
                      hint = 'Known task types are the rows of queues.task_definition.';
        end if;
    end if;

    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;
    -- A volatile function in the condition would not end the index scan at the first task of the future.
    _now := clock_timestamp();

    -- Before a row is locked: workers inside pass over locked rows.
    _paused := errand.paused_types(_types);
    if _paused <> '{}' then
        _types := array(
            select t.name
            from unnest(_types) as t (name)
            where t.name <> all (_paused)
        );
    end if;
    _limited := errand.limited_types(_types);
    if _limited <> '{}' then
        _types := array(
            select t.name
            from unnest(_types) as t (name)
            where t.name <> all (_limited)
                or errand.may_start(t.name)
        );
    end if;

    loop
        select n.task_id, n.task_type, n.was_leased
        into _next, _type, _was_leased
        from errand.lock_next_ready(_types, _now) n;
        if _next is null then
            return;
        end if;
        exit when _type <> all (_limited) or errand.begin_start(_type);
        -- Another task of the type has started meanwhile.
        _types := array_remove(_types, _type);
    end loop;

    -- The lease starts now, after any wait for locks.
    _now := clock_timestamp();
    _leased_until := _now + _lease;

    update only queues.task t
    set dequeued_at = _now,
        attempts = least(t.attempts, 2147483646) + 1,
        leased = true,
        not_before = case when _lease > '0' then _leased_until end,
        finished_at = case when _lease = '0' then _now end,
        final_status = case when _lease = '0' then 'succeeded' end
    where t.task_id = _next
    returning t.task_id, t.task_type, t.payload, t.enqueued_at, t.scheduled_at, t.dequeued_at, t.attempts
    into task_id, task_type, payload, enqueued_at, scheduled_at, dequeued_at, _attempts;

    -- A trigger or rule may have suppressed the update; then the task would be handed out again.
    if exists (
        select 1
        from only queues.task t
        where t.task_id = _next
            and t.finished_at is null
            and coalesce(t.not_before, '-infinity') < least(_leased_until, clock_timestamp())
    ) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    perform errand.count_task(
        task_id,
        task_type,
        _status => case when _lease = '0' then 'succeeded' end,
        _attempts => 1,
        _ready_at => case when _attempts = 1 then greatest(enqueued_at, scheduled_at) end
    );

    if _lease > '0' then
        perform errand.announce(_leased_until);
    else
        perform errand.announce_follower(task_id);
        perform errand.redact(task_id);
    end if;
    if _was_leased then
        perform errand.tell_of_ended_lease(_next);
    end if;
end;
$$;

-- Ends a task, unless it has ended or is between the steps of a provider call.
create or replace function errand.end_task(_task_id bigint, _status text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _task record;
    _has_ended boolean;
begin
    -- Not by RETURNING, which a rule of a user's does not allow.
    select t.task_type, t.dequeued_at
    into _task
    from only queues.task t
    where t.task_id = _task_id;

    update only queues.task t
    set finished_at = clock_timestamp(),
        final_status = _status,
        leased = false,
        not_before = null
    where t.task_id = _task_id
        and t.finished_at is null
        and not t.calling;
    _has_ended := found;

    if exists (
        select 1
        from only queues.task t
        where t.task_id = _task_id
            and t.finished_at is null
            and not t.calling
    ) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    if _has_ended then
        perform errand.count_task(_task_id, _task.task_type, _status, _began_at => _task.dequeued_at);
    end if;
    perform errand.announce_follower(_task_id);
    if _status = 'succeeded' then
        perform errand.redact(_task_id);
    end if;
end;
$$;

-- Records an error of a task, or of no task (null). A task that has succeeded only because it was dequeued without a
-- lease becomes failed.
create or replace function queues.append_error(task_id bigint, error_message text)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    _task queues.task;
    _message text := coalesce(append_error.error_message, '');
    _has_failed boolean;
begin
    if octet_length(_message) > 65536 then
        _message := left(_message, 16384)
            || format('... (truncated, %s bytes in all)', octet_length(_message));
    end if;

    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    select *
    into _task
    from only queues.task t
    where t.task_id = append_error.task_id
    for key share;

    insert into queues.error (task_id, error_message, task_type, attempt)
    values (_task.task_id, _message, _task.task_type, _task.attempts);

    if not found then
        perform errand.refuse_unwritten('queues.error', _inserted => true);
    end if;

    update only queues.task t
    set final_status = 'failed'
    where t.task_id = append_error.task_id
        and t.final_status = 'succeeded'
        and t.leased;
    _has_failed := found;
    perform errand.count_task(
        _task.task_id,
        _task.task_type,
        _status => case when _has_failed then 'failed' end,
        _errors => 1,
        _had_succeeded => _has_failed
    );

    if exists (
        select 1
        from only queues.task t
        where t.task_id = append_error.task_id
            and t.final_status = 'succeeded'
            and t.leased
    ) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    return '{"success": true}';
end;
$$;

-- Lets all sessions and workers read the table again, also after a change by hand.
create function errand.paused_after_change()
returns trigger
language c
as 'MODULE_PATHNAME', 'paused_after_change_wrapper';

-- Those of these task types of which no task may start now, since they, their provider or the database are paused.
create function errand.paused_types(_task_types text[])
returns text[]
strict
language c
as 'MODULE_PATHNAME', 'paused_types_wrapper';

-- Writes a message to the server log.
create function errand.tell(_message text)
returns void
strict
language c
as 'MODULE_PATHNAME', 'tell_wrapper';

-- What a row of queues.paused pauses, for messages.
create function errand.paused_name(_task_type text, _provider text)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
    select case
        when _task_type is not null then format('task type "%s"', _task_type)
        when _provider is not null then format('provider "%s"', _provider)
        else 'the database'
    end;
$$;

-- Raises an error unless there is such a task type or provider.
create function errand.check_pausable(_task_type text, _provider text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if _task_type is not null then
        perform errand.check_task_type(_task_type);
    end if;
    if _provider is not null
        and not exists (select 1 from only queues.provider p where p.name = _provider)
    then
        raise exception 'unknown provider "%"', _provider
            using errcode = 'invalid_parameter_value',
                  hint = 'Known providers are the rows of queues.provider.';
    end if;
end;
$$;

-- Whether there is such a pause that lasts.
create function errand.is_paused(_task_type text, _provider text)
returns boolean
language sql
set search_path = pg_catalog, pg_temp
as $$
    select exists (
        select 1
        from only queues.paused p
        where p.task_type || '' is not distinct from _task_type
            and p.provider || '' is not distinct from _provider
            and (p.paused_until is null or p.paused_until > clock_timestamp())
    );
$$;

-- Pauses a task type, a provider or the database. Returns false if there was such a pause, which is replaced.
create function errand.begin_pause(_task_type text, _provider text, _until timestamptz, _why text)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _end timestamptz := nullif(_until, 'infinity');
    _was_paused boolean;
begin
    perform errand.check_pausable(_task_type, _provider);
    if _end <= clock_timestamp() then
        raise exception 'the pause would end at %, which is in the past', _end
            using errcode = 'invalid_parameter_value',
                  hint = 'Leave _until out for a pause without an end.';
    end if;
    _was_paused := errand.is_paused(_task_type, _provider);

    insert into queues.paused as p (task_type, provider, paused_until, reason)
    values (_task_type, _provider, _end, _why)
    on conflict ((task_type || ''), (provider || '')) do update
    set paused_until = excluded.paused_until,
        reason = excluded.reason,
        paused_by = excluded.paused_by,
        paused_at = excluded.paused_at;

    if not exists (
        select 1
        from only queues.paused p
        where p.task_type || '' is not distinct from _task_type
            and p.provider || '' is not distinct from _provider
            and p.paused_until is not distinct from _end
    ) then
        perform errand.refuse_unwritten('queues.paused', _inserted => true);
    end if;

    perform errand.tell(format(
        'role "%s" pauses %s%s%s',
        session_user, errand.paused_name(_task_type, _provider), ' until ' || _end, ': ' || _why
    ));
    return not _was_paused;
end;
$$;

-- Ends a pause. Returns false if there is none.
create function errand.end_pause(_task_type text, _provider text)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _was_paused boolean := errand.is_paused(_task_type, _provider);
begin
    if not _was_paused then
        perform errand.check_pausable(_task_type, _provider);
    end if;

    delete from only queues.paused p
    where p.task_type || '' is not distinct from _task_type
        and p.provider || '' is not distinct from _provider;
    if errand.is_paused(_task_type, _provider) then
        perform errand.refuse_unwritten('queues.paused');
    end if;

    if _was_paused then
        perform errand.tell(format('role "%s" resumes %s', session_user, errand.paused_name(_task_type, _provider)));
    end if;
    return _was_paused;
end;
$$;

-- Pauses a task type, or without one the database: from the commit on, no task starts before _until, or before
-- queues.resume. What runs goes on to its end, including calls in flight and the handlers of their responses.
create function queues.pause(
    _task_type text default null,
    _until timestamptz default null,
    _why text default null
)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return errand.begin_pause(_task_type, null, _until, _why);
end;
$$;

-- Ends what queues.pause or queues.drain has begun.
create function queues.resume(_task_type text default null)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return errand.end_pause(_task_type, null);
end;
$$;

-- Pauses a provider: from the commit on, this database sends it no request before _until, or before
-- queues.resume_provider. Requests that are stored wait.
create function queues.pause_provider(
    _provider text,
    _until timestamptz default null,
    _why text default null
)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return errand.begin_pause(null, coalesce(_provider, ''), _until, _why);
end;
$$;

-- Ends what queues.pause_provider has begun. It closes no circuit breaker, and says so.
create function queues.resume_provider(_provider text)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _was_paused boolean := errand.end_pause(null, coalesce(_provider, ''));
begin
    if exists (
        select 1
        from errand.provider_state() s
        where s.name = _provider
            and s.breaker = 'open'
    ) then
        raise notice 'the circuit breaker of provider "%" is open, which is no pause', _provider
            using hint = format('To close it, run: UPDATE queues.provider SET name = name WHERE name = %L;', _provider);
    end if;
    return _was_paused;
end;
$$;

-- Lets this database start nothing until the transaction ends.
create function errand.begin_drain()
returns void
language c
as 'MODULE_PATHNAME', 'begin_drain_wrapper';

-- What of this database still runs: a task in a worker, a call that was not handled, or a lease of a worker outside.
create function errand.left_to_drain(out what text, out task_id bigint, out pid integer)
returns setof record
language c
as 'MODULE_PATHNAME', 'left_to_drain_wrapper';

-- Pauses the database at once, and waits until nothing of it runs. Returns false if something still runs after _timeout
-- (null: no limit); a notice says what. In both cases the pause lasts until queues.resume, once the transaction has
-- committed. If it rolls back, there was no pause.
create function queues.drain(_timeout interval default '1 minute', _why text default null)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _deadline timestamptz := clock_timestamp() + _timeout;
    _left text;
    _count bigint;
begin
    if _timeout < '0' then
        raise exception 'the timeout % is negative', _timeout
            using errcode = 'invalid_parameter_value',
                  hint = 'Leave _timeout out to wait for a minute, or pass null to wait without a limit.';
    end if;
    perform errand.begin_drain();
    perform errand.begin_pause(null, null, null, coalesce(_why, 'queues.drain'));

    loop
        select count(*) into _count
        from errand.left_to_drain();
        if _count = 0 then
            return true;
        end if;
        exit when clock_timestamp() >= _deadline;
        perform pg_sleep(0.02);
    end loop;

    select
        count(*),
        string_agg(
            case when l.what <> 'task' then l.what || ' of ' else '' end
                || format('task %s', coalesce(nullif(l.task_id, 0)::text, 'that is being claimed'))
                || coalesce(' in process ' || l.pid, ''),
            ', ' order by l.task_id
        ) filter (where l.number <= 10)
    into _count, _left
    from (
        select r.*, row_number() over (order by r.task_id) as number
        from errand.left_to_drain() r
    ) l;
    if _count = 0 then
        return true;
    end if;
    raise notice 'still running: % (% in all)', _left, _count
        using hint = 'The database stays paused when the transaction commits. Call queues.drain again to wait on, or queues.resume to end the pause.';
    return false;
end;
$$;

-- Cancels a task. A waiting task never runs, unless the caller rolls back. A running task is interrupted immediately,
-- even if its handler catches all errors, and no further handler is invoked; the provider may have received a request
-- that is in flight. Returns false if the task has ended or does not exist.
create or replace function queues.cancel(_task_id bigint)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _finished boolean;
    _calling boolean;
    _owner bigint;
    _told boolean;
    _task_type text;
begin
    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    loop
        select t.finished_at is not null, t.calling, c.owner, t.task_type
        into _finished, _calling, _owner, _task_type
        from only queues.task t
        left join only queues.call c on c.task_id = t.task_id
        where t.task_id = _task_id;

        if not found or _finished then
            return false;
        end if;

        if errand.cancel_running(_task_id) then
            return true;
        end if;

        if _calling then
            -- The row of the call may have been deleted.
            _told := case when _owner is null then false else errand.cancel_call(_owner, _task_id) end;
            if _told then
                -- The task may have ended just before.
                return exists (
                    select 1
                    from only queues.task t
                    where t.task_id = _task_id
                        and (t.finished_at is null or t.final_status = 'cancelled')
                );
            end if;
            if _told is null then
                perform pg_sleep(0.002);
                continue;
            end if;
        end if;

        -- If its row can be locked, no worker runs the task.
        perform 1
        from only queues.task t
        where t.task_id = _task_id
            and t.finished_at is null
            and t.calling = _calling
        for no key update skip locked;

        if found then
            update only queues.task
            set finished_at = clock_timestamp(),
                final_status = 'cancelled',
                calling = false,
                leased = false,
                not_before = null
            where task_id = _task_id;
            if exists (select 1 from only queues.task t where t.task_id = _task_id and t.finished_at is null) then
                perform errand.refuse_unwritten('queues.task');
            end if;
            perform errand.count_task(_task_id, _task_type, 'cancelled');

            update only queues.call
            set request = null
            where task_id = _task_id;
            if exists (select 1 from only queues.call c where c.task_id = _task_id and c.request is not null) then
                perform errand.refuse_unwritten('queues.call');
            end if;
            perform errand.announce_follower(_task_id);
            return true;
        end if;

        -- The task is just starting or ending, or another session has locked its row.
        perform pg_sleep(0.002);
    end loop;
end;
$$;

-- Logs a call of a function that steers tasks: its name, its arguments and the number of tasks that it changed.
create function errand.log_steering(_function text, _arguments text, _tasks bigint)
returns void
strict
language c
as 'MODULE_PATHNAME', 'log_steering_wrapper';

-- Raises an error unless the arguments of an operation on many tasks are valid.
create function errand.check_selection(_task_type text, _older_than interval, _limit integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if _task_type is not null then
        perform errand.check_task_type(_task_type);
    end if;
    if _older_than < '0' then
        raise exception '_older_than is negative'
            using errcode = 'invalid_parameter_value',
                  hint = 'Use 0 for tasks of any age.';
    end if;
    if _limit is null or _limit < 1 then
        raise exception '_limit has to be 1 or more'
            using errcode = 'invalid_parameter_value',
                  hint = 'Leave _limit out for its default, and repeat the call until it returns 0.';
    end if;
end;
$$;

-- Cancels waiting tasks that are locked.
create function errand.cancel_locked(_task_ids bigint[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    update only queues.task
    set finished_at = clock_timestamp(),
        final_status = 'cancelled',
        leased = false,
        not_before = null
    where task_id = any (_task_ids);

    if exists (
        select 1
        from only queues.task t
        where t.task_id = any (_task_ids)
            and t.finished_at is null
    ) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    perform errand.count_task(t.task_id, t.task_type, 'cancelled')
    from only queues.task t
    where t.task_id = any (_task_ids)
        and t.final_status = 'cancelled';

    perform errand.announce_follower(t.task_id)
    from only queues.task t
    where t.task_id = any (_task_ids)
        and t.unique_key is not null;

    perform errand.announce_key(k.task_type, k.queue_key)
    from (
        select distinct t.task_type, t.queue_key
        from only queues.task t
        where t.task_id = any (_task_ids)
            and t.queue_key is not null
    ) k;
end;
$$;

-- Cancels waiting tasks (scheduled, ready or deferred) of a type, that were enqueued at least _older_than ago, or of a queue
-- key; returns their number. At least one condition is given; _older_than => '0' stands for all. Tasks that run, or whose
-- call is under way, and unadopted ones are left alone.
--
-- Those that would start last are cancelled first, so that workers meet few locked tasks. The settings have the indexes used,
-- whatever the statistics say.
create function queues.cancel_where(
    _task_type text default null,
    _older_than interval default null,
    _queue_key text default null,
    _limit integer default 10000
)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    _order record;
    _found bigint[];
    _cancelled bigint := 0;
begin
    if _task_type is null and _older_than is null and _queue_key is null then
        raise exception 'queues.cancel_where needs a condition'
            using errcode = 'invalid_parameter_value',
                  hint = 'To cancel all waiting tasks, run: SELECT queues.cancel_where(_older_than => ''0'');';
    end if;
    perform errand.check_selection(_task_type, _older_than, _limit);

    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    -- One search for each index of unfinished tasks.
    for _order in
        select o.condition, o.columns
        from (
            values
                (
                    't.priority is null and t.queue_key is null and not t.calling',
                    't.scheduled_at desc, t.task_id desc',
                    _queue_key is null
                ),
                (
                    't.priority is not null and t.queue_key is null and not t.calling',
                    't.priority, t.scheduled_at, t.task_id',
                    _queue_key is null
                ),
                (
                    't.queue_key is not null',
                    't.scheduled_at desc, t.task_id desc',
                    _queue_key is null or _task_type is null
                ),
                (
                    't.queue_key is not null
                        and hashtextextended(t.task_type, 0) = hashtextextended($1, 0)
                        and hashtextextended(t.queue_key, 0) = hashtextextended($3, 0)',
                    't.scheduled_at desc, t.task_id desc',
                    _queue_key is not null and _task_type is not null
                )
        ) as o (condition, columns, is_used)
        where o.is_used
    loop
        exit when _cancelled >= _limit;
        execute format(
            'select array(
                select t.task_id
                from only queues.task t
                where t.origin = $4
                    and t.finished_at is null
                    and %s
                    and not t.calling
                    and not (t.leased and t.not_before > $5)
                    and ($1 is null or t.task_type = $1)
                    and ($2 is null or t.enqueued_at <= $5 - $2)
                    and ($3 is null or t.queue_key = $3)
                order by %s
                limit $6
                for no key update skip locked
            )',
            _order.condition,
            _order.columns
        )
        into _found
        using _task_type, _older_than, _queue_key, errand.queue_origin(), clock_timestamp(), _limit - _cancelled;
        perform errand.cancel_locked(_found);
        _cancelled := _cancelled + cardinality(_found);
    end loop;

    perform errand.log_steering(
        'cancel_where',
        concat_ws(
            ', ',
            '_task_type => ' || quote_literal(_task_type),
            '_older_than => ' || quote_literal(_older_than),
            '_queue_key => ' || quote_literal(_queue_key),
            '_limit => ' || _limit
        ),
        _cancelled
    );
    return _cancelled;
end;
$$;

-- The idempotency key of a call of which it is not known whether the provider has carried it out: there is no response.
create function errand.key_of_unknown_call(_task_id bigint)
returns text
language sql
set search_path = pg_catalog, pg_temp
as $$
    select c.idempotency_key
    from only queues.call c
    where c.task_id = _task_id
        and c.response is null
        and coalesce(c.failure -> 'response', '{}') = '{}';
$$;

-- Enqueues the retry of a task that is locked and has ended, and returns its id. Returns null if an unfinished task has its
-- unique key.
create function errand.enqueue_retry(_task queues.task)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _retry bigint;
begin
    begin
        _retry := queues.enqueue(
            _task.task_type,
            _task.payload,
            _unique_key => _task.unique_key,
            _if_exists => 'error',
            _priority => coalesce(_task.priority, 0::smallint),
            _queue_key => _task.queue_key
        );
    exception when unique_violation then
        -- It may come from an index of a user.
        if _task.unique_key is null then
            raise;
        end if;
        return null;
    end;

    update only queues.task
    set retry_of = _task.task_id,
        idempotency_key = errand.key_of_unknown_call(_task.task_id)
    where task_id = _retry;

    update only queues.task
    set retried_as = _retry
    where task_id = _task.task_id;

    if (
        select count(*)
        from only queues.task t
        where t.task_id = _retry and t.retry_of = _task.task_id
            or t.task_id = _task.task_id and t.retried_as = _retry
    ) < 2 then
        perform errand.refuse_unwritten('queues.task');
    end if;
    return _retry;
end;
$$;

-- Raises the error that says why a task cannot be retried.
create function errand.refuse_retry(_task_id bigint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _status text;
begin
    select coalesce(t.final_status, 'unfinished')
    into _status
    from only queues.task t
    where t.task_id = _task_id;

    if not found then
        raise exception 'task % does not exist', _task_id
            using errcode = 'no_data_found',
                  hint = 'It may have been removed, see pg_errand.retention.';
    end if;
    if _status = 'succeeded' then
        raise exception 'task % has succeeded', _task_id
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'To do the same once more, enqueue another task with queues.enqueue.';
    end if;
    raise exception 'task % has not ended', _task_id
        using errcode = 'object_not_in_prerequisite_state',
              hint = format('To learn what it waits for, run: SELECT * FROM queues.explain(%s);', _task_id);
end;
$$;

-- Retries a task that has failed or was cancelled, and returns the id of the new task. It has the same type, payload,
-- priority, unique key and queue key, and is due now. Its call has the idempotency key of the earlier call if there was no
-- response to that one, so that a provider that recognizes the key carries it out once; otherwise a new one.
create function queues.retry(_task_id bigint)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _task queues.task;
    _retry bigint;
begin
    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    -- No worker locks a task that has ended, so this waits for other retries only.
    select *
    into _task
    from only queues.task t
    where t.task_id = _task_id
        and t.final_status in ('failed', 'cancelled')
    for no key update;

    if not found then
        perform errand.refuse_retry(_task_id);
    end if;
    if exists (select 1 from only queues.task t where t.task_id = _task.retried_as) then
        raise exception 'task % was retried already, as task %', _task_id, _task.retried_as
            using errcode = 'object_not_in_prerequisite_state',
                  hint = format('If that one has failed, too, run: SELECT queues.retry(%s);', _task.retried_as);
    end if;

    _retry := errand.enqueue_retry(_task);
    if _retry is null then
        raise exception 'a task that has not ended has the unique key of task %', _task_id
            using errcode = 'unique_violation',
                  detail = format('The unique key is "%s".', _task.unique_key),
                  hint = 'Wait for its end, or cancel it with queues.cancel.';
    end if;
    perform errand.log_steering('retry', _task_id::text, 1);
    return _retry;
end;
$$;

-- Retries failed tasks that have no retry yet, and returns their number: of a type, that have failed since a time, or whose
-- last error matches a pattern of LIKE. Those that failed first come first. Tasks are left out while an unfinished one has
-- their unique key. Tasks that are retries themselves are left out unless _retries is true: as long as the cause of the
-- failures remains, a loop would not end. They are found by their errors, so that no index on failed tasks has to be
-- maintained.
create function queues.retry_failed(
    _task_type text default null,
    _since timestamptz default null,
    _error_like text default null,
    _limit integer default 1000,
    _retries boolean default false
)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    _task_id bigint;
    _task queues.task;
    _retried bigint := 0;
    _left bigint;
begin
    perform errand.check_selection(_task_type, null, _limit);

    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    foreach _task_id in array array(
        select t.task_id
        from only queues.error e
        join only queues.task t on t.task_id = e.task_id
        where t.final_status = 'failed'
            and t.retried_as is null
            and (_retries or t.retry_of is null)
            and (_task_type is null or t.task_type = _task_type)
            and (_since is null or t.finished_at >= _since)
            and (_error_like is null or e.error_message like _error_like)
            -- The last error of its task.
            and not exists (
                select 1
                from only queues.error l
                where l.task_id = e.task_id
                    and l.error_id > e.error_id
            )
            -- The expression is that of the index task_unique.
            and not exists (
                select 1
                from only queues.task u
                where u.unique_key = t.unique_key
                    and u.task_type = t.task_type
                    and u.origin = errand.queue_origin()
                    and case when u.finished_at is not null then u.task_id end is null
            )
        order by e.error_id
        limit _limit
        for no key update of t skip locked
    )
    loop
        select *
        into _task
        from only queues.task t
        where t.task_id = _task_id;
        -- Another one of them may have had the same unique key.
        if errand.enqueue_retry(_task) is not null then
            _retried := _retried + 1;
        end if;
    end loop;

    if not _retries and _retried < _limit then
        select count(*)
        into _left
        from (
            select
            from only queues.task t
            where t.final_status = 'failed'
                and t.retried_as is null
                and t.retry_of is not null
                and (_task_type is null or t.task_type = _task_type)
                and (_since is null or t.finished_at >= _since)
                and (
                    _error_like is null
                    or (
                        select e.error_message
                        from only queues.error e
                        where e.task_id = t.task_id
                        order by e.error_id desc
                        limit 1
                    ) like _error_like
                )
            limit 1000
        ) l;
        if _left > 0 then
            raise notice 'left out, since they are retries themselves: % failed tasks', _left
                using hint = 'To run these again, too, add _retries => true.';
        end if;
    end if;

    perform errand.log_steering(
        'retry_failed',
        concat_ws(
            ', ',
            '_task_type => ' || quote_literal(_task_type),
            '_since => ' || quote_literal(_since),
            '_error_like => ' || quote_literal(_error_like),
            '_limit => ' || _limit,
            case when _retries then '_retries => true' end
        ),
        _retried
    );
    return _retried;
end;
$$;

-- Removes tasks that ended at least _older_than ago (with this final status), and their errors, in the order of their ids;
-- returns their number. A task that a foreign key of a user keeps is left, with a warning in the log. Each call removes at
-- most _limit tasks: it is repeated until it returns 0.
--
-- Not SECURITY DEFINER: tasks are removed with the privileges of their owner, but triggers that follow in users' tables run
-- with those of the caller, see src/removal.rs.
create function queues.purge(
    _older_than interval,
    _status text default null,
    _limit integer default 10000
)
returns bigint
language c
as 'MODULE_PATHNAME', 'purge_wrapper';

-- Locks the row of a task, and returns it. Raises an error if a worker runs the task, or if it does not exist.
create function errand.lock_task(_task_id bigint)
returns queues.task
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _task queues.task;
begin
    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    -- A worker that only looks whether it may run the task locks it for a moment.
    for _look in 1..50 loop
        select *
        into _task
        from only queues.task t
        where t.task_id = _task_id
        for no key update skip locked;
        exit when found or not exists (select 1 from only queues.task t where t.task_id = _task_id);
        perform pg_sleep(0.002);
    end loop;

    if _task.task_id is null then
        if exists (select 1 from only queues.task t where t.task_id = _task_id) then
            raise exception 'task % is running, or another session has locked it', _task_id
                using errcode = 'object_not_in_prerequisite_state',
                      hint = format('To learn what it does, run: SELECT * FROM queues.explain(%s);', _task_id);
        end if;
        raise exception 'task % does not exist', _task_id
            using errcode = 'no_data_found',
                  hint = 'It may have been removed, see pg_errand.retention.';
    end if;
    return _task;
end;
$$;

-- Locks a task that waits, and returns its row. Raises an error if the task runs, has ended or does not exist.
create function errand.lock_waiting(_task_id bigint)
returns queues.task
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _task queues.task := errand.lock_task(_task_id);
begin
    if _task.finished_at is not null then
        raise exception 'task % has ended: %', _task_id, _task.final_status
            using errcode = 'object_not_in_prerequisite_state',
                  hint = case
                      when _task.final_status = 'succeeded' then 'Enqueue another task with queues.enqueue.'
                      else format('To run it again, run: SELECT queues.retry(%s);', _task_id)
                  end;
    end if;
    if _task.calling or _task.leased and _task.not_before > clock_timestamp() then
        raise exception 'task % is running', _task_id
            using errcode = 'object_not_in_prerequisite_state',
                  hint = case
                      when _task.calling then format('To learn what it does, run: SELECT * FROM queues.explain(%s);', _task_id)
                      else format('If its worker outside is gone, run: SELECT queues.end_lease(%s);', _task_id)
                  end;
    end if;
    if _task.origin <> errand.queue_origin() then
        raise exception 'task % came from another database, and is unadopted', _task_id
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'To adopt all such tasks, run: SELECT queues.adopt();';
    end if;
    return _task;
end;
$$;

-- Changes when a task starts that is locked and waits.
create function errand.change_order(_task queues.task, _scheduled_at timestamptz, _priority smallint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    update only queues.task t
    set scheduled_at = _scheduled_at,
        priority = _priority,
        -- The end of a lease is not a backoff.
        not_before = case when t.leased then t.not_before end
    where t.task_id = _task.task_id;

    if not exists (
        select 1
        from only queues.task t
        where t.task_id = _task.task_id
            and t.scheduled_at = _scheduled_at
            and t.priority is not distinct from nullif(_priority, 0)
    ) then
        perform errand.refuse_unwritten('queues.task');
    end if;
end;
$$;

-- Lets a waiting task start as the next one of its lane: it gets the highest priority, and is due before all other tasks of
-- that priority. Limits, pauses and the task that it follows count as before. A task with a queue key has to be the first one
-- of its key.
create function queues.run_next(_task_id bigint)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _highest constant smallint := 32767;
    _task queues.task := errand.lock_waiting(_task_id);
    _first bigint;
begin
    -- The expressions are those of the index task_keyed.
    select t.task_id
    into _first
    from only queues.task t
    where t.origin = _task.origin
        and hashtextextended(t.task_type, 0) = hashtextextended(_task.task_type, 0)
        and hashtextextended(t.queue_key, 0) = hashtextextended(_task.queue_key, 0)
        and t.finished_at is null
        and t.queue_key is not null
        and t.task_type = _task.task_type
        and t.queue_key = _task.queue_key
    order by t.scheduled_at, t.task_id
    limit 1;
    if _first <> _task_id then
        raise exception 'task % is not the first one of its queue key', _task_id
            using errcode = 'object_not_in_prerequisite_state',
                  detail = format('Task %s comes before it.', _first),
                  hint = (
                      select case
                          when t.leased and t.not_before > clock_timestamp() then
                              format('It is leased. If its worker outside is gone, run: SELECT queues.end_lease(%s);', _first)
                          when t.calling or exists (select 1 from errand.active_task a where a.task_id = _first) then
                              format('It runs, and has to end first. See: SELECT * FROM queues.explain(%s);', _first)
                          else
                              format('The tasks of a key run in order. Let that one start next, cancel it, or reschedule it: SELECT queues.run_next(%s);', _first)
                      end
                      from only queues.task t
                      where t.task_id = _first
                  );
    end if;

    perform errand.change_order(
        _task,
        least(
            _task.scheduled_at,
            clock_timestamp(),
            (
                select t.scheduled_at - interval '1 microsecond'
                from only queues.task t
                where t.origin = _task.origin
                    and t.priority = _highest
                    and t.finished_at is null
                    and not t.calling
                    and t.queue_key is null
                    and t.task_id <> _task_id
                    and isfinite(t.scheduled_at)
                order by t.scheduled_at
                limit 1
            )
        ),
        _highest
    );
    perform errand.log_steering('run_next', _task_id::text, 1);
end;
$$;

-- Schedules a waiting task at another time; a time in the past counts as now. The backoff of a task that was given back ends.
-- A task with a queue key has its place among those of its key by its new time.
create function queues.reschedule(_task_id bigint, _scheduled_at timestamptz)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _task queues.task;
begin
    if _scheduled_at is null then
        raise exception 'a task needs a time'
            using errcode = 'null_value_not_allowed',
                  hint = 'Use now() for a task that is due now, and ''infinity'' for one that waits until it is scheduled again.';
    end if;
    _task := errand.lock_waiting(_task_id);
    perform errand.change_order(_task, greatest(_scheduled_at, now()), _task.priority);
    perform errand.log_steering('reschedule', format('%s, %L', _task_id, _scheduled_at), 1);
end;
$$;

-- Ends the lease of a task whose worker outside is gone: it may start again at once, in its place in the order. Returns false if
-- the task is not leased.
create function queues.end_lease(_task_id bigint)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _task queues.task;
    _is_leased boolean;
begin
    select t.leased and t.not_before > clock_timestamp() and not t.calling and t.finished_at is null
    into _is_leased
    from only queues.task t
    where t.task_id = _task_id;
    if _is_leased or not found then
        _task := errand.lock_task(_task_id);
        -- Its worker may have ended it meanwhile.
        _is_leased := _task.leased and _task.not_before > clock_timestamp() and _task.finished_at is null;
    end if;
    if _is_leased is not true then
        raise notice 'task % is not leased', _task_id
            using hint = format('To learn its state, run: SELECT * FROM queues.explain(%s);', _task_id);
        return false;
    end if;

    -- As after a backoff that has ended. Without a time, workers would not look for it.
    update only queues.task t
    set leased = false,
        not_before = clock_timestamp()
    where t.task_id = _task_id;
    if exists (select 1 from only queues.task t where t.task_id = _task_id and t.leased) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    perform errand.announce(clock_timestamp());
    if _task.queue_key is not null then
        perform errand.announce_key(_task.task_type, _task.queue_key);
    end if;
    perform errand.log_steering('end_lease', _task_id::text, 1);
    return true;
end;
$$;

-- Lets the commit count what a worker outside or a session has done with a task: attempts that have begun (with when the
-- task was ready), its end (with when the attempt began), and errors. _had_succeeded: it was counted as succeeded before.
create function errand.count_task(
    _task_id bigint,
    _task_type text,
    _status text default null,
    _attempts integer default 0,
    _errors integer default 0,
    _ready_at timestamptz default null,
    _began_at timestamptz default null,
    _had_succeeded boolean default false
)
returns void
language c
as 'MODULE_PATHNAME', 'count_task_wrapper';

-- What was counted for each task type, for each of its handlers, and for each of its providers. Views call functions with
-- the privileges of the role that reads them, so PUBLIC may execute this function; it requires SELECT on the view. So do the
-- following ones. Times are in milliseconds: the quantiles 50, 95 and 99 %, the longest one and the mean.
create function errand.stats(
    out task_type text,
    out handler text,
    out invoked_as text,
    out provider text,
    out counts bigint[],
    out waiting double precision[],
    out running double precision[],
    out provider_time double precision[],
    out stats_since timestamptz
)
returns setof record
volatile
strict
language c
as 'MODULE_PATHNAME', 'stats_rows_wrapper';

-- The histograms of the same, as cumulative counts.
create function errand.stats_buckets(
    out task_type text,
    out handler text,
    out invoked_as text,
    out provider text,
    out measured text,
    out le double precision,
    out count bigint,
    out sum double precision
)
returns setof record
volatile
strict
language c
as 'MODULE_PATHNAME', 'stats_buckets_wrapper';

-- The table in shared memory: how many entries are used, how often one was given to another key because all were used, and
-- how often something was not counted for that reason.
create function errand.stats_info(
    out entries integer,
    out max_entries integer,
    out replaced bigint,
    out uncounted bigint
)
returns setof record
volatile
strict
language c
as 'MODULE_PATHNAME', 'stats_info_wrapper';

-- The numbers of the last 32 tasks of a type that ended or, if _failed, that failed; the last one first.
create function errand.last_ended(_task_type text, _failed boolean default false)
returns setof bigint
volatile
strict
language c
as 'MODULE_PATHNAME', 'last_ended_wrapper';

-- How many tasks of each type ended in the current span of 20 seconds and in _spans ones before it, which began so many
-- seconds ago.
create function errand.throughput(
    _spans integer,
    out task_type text,
    out succeeded bigint,
    out failed bigint,
    out cancelled bigint,
    out seconds double precision
)
returns setof record
volatile
strict
language c
as 'MODULE_PATHNAME', 'throughput_wrapper';

create view queues.stats as
select
    s.task_type,
    s.handler,
    s.invoked_as,
    s.provider,
    case when s.handler is null and s.provider is null then s.counts[1] end as attempts,
    case when s.handler is null and s.provider is null then s.counts[2] end as succeeded,
    case when s.handler is null and s.provider is null then s.counts[3] end as failed,
    case when s.handler is null and s.provider is null then s.counts[4] end as cancelled,
    case when s.handler is null and s.provider is null then s.counts[5] end as repeated,
    case when s.provider is null then s.counts[6] end as errors,
    case when s.handler is not null then s.counts[7] end as invocations,
    case when s.provider is not null then s.counts[8] end as calls,
    case when s.provider is not null then s.counts[9] end as failed_calls,
    case when s.provider is not null then s.counts[10] end as status_2xx,
    case when s.provider is not null then s.counts[11] end as status_3xx,
    case when s.provider is not null then s.counts[12] end as status_4xx,
    case when s.provider is not null then s.counts[13] end as status_5xx,
    case when s.provider is not null then s.counts[14] end as no_response,
    case when s.provider is not null then s.counts[15] end as deferred,
    s.waiting[1] as waiting_p50,
    s.waiting[2] as waiting_p95,
    s.waiting[3] as waiting_p99,
    s.waiting[4] as waiting_max,
    s.waiting[5] as waiting_mean,
    s.running[1] as running_p50,
    s.running[2] as running_p95,
    s.running[3] as running_p99,
    s.running[4] as running_max,
    s.running[5] as running_mean,
    s.provider_time[1] as provider_p50,
    s.provider_time[2] as provider_p95,
    s.provider_time[3] as provider_p99,
    s.provider_time[4] as provider_max,
    s.provider_time[5] as provider_mean,
    s.stats_since
from errand.stats() s;

create view queues.stats_buckets as
select b.task_type, b.handler, b.invoked_as, b.provider, b.measured, b.le, b.count, b.sum
from errand.stats_buckets() b;

create view queues.stats_info as
select i.entries, i.max_entries, i.replaced, i.uncounted
from errand.stats_info() i;

-- How many tasks of each type ended within a while, in all (task_type is null) and per second. The last ten minutes come
-- from shared memory, in spans of 20 seconds; a longer while comes from queues.stats_history.
create function queues.throughput(
    _for interval default '5 minutes',
    out task_type text,
    out succeeded bigint,
    out failed bigint,
    out cancelled bigint,
    out per_second double precision,
    out seconds double precision
)
returns setof record
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    _seconds double precision := extract(epoch from _for);
    _resolution text := case when _for > '1 day' then 'hour' else 'minute' end;
begin
    if _for is null or not (_seconds > 0) or _for > '90 days' then
        raise exception 'the time for the throughput has to be between 0 and 90 days'
            using errcode = 'invalid_parameter_value',
                  hint = 'Give an interval, such as ''5 minutes''.';
    end if;

    return query
    with lately as (
        select t.task_type, t.succeeded, t.failed, t.cancelled, t.seconds
        from errand.throughput(ceil(_seconds / 20)::integer) t
        where _for <= '10 minutes'
        union all
        select
            f.key,
            (f.value ->> 'succeeded')::bigint,
            (f.value ->> 'failed')::bigint,
            (f.value ->> 'cancelled')::bigint,
            _seconds
        from only queues.stats_history h
        cross join lateral jsonb_each(h.details -> 'types') f
        where _for > '10 minutes'
            and h.resolution = _resolution
            and h.at >= clock_timestamp() - _for
    )
    select
        l.task_type,
        coalesce(sum(l.succeeded), 0)::bigint,
        coalesce(sum(l.failed), 0)::bigint,
        coalesce(sum(l.cancelled), 0)::bigint,
        coalesce(sum(l.succeeded + l.failed + l.cancelled)::float8 / max(l.seconds), 0),
        coalesce(max(l.seconds), _seconds)
    from lately l
    group by grouping sets ((l.task_type), ())
    order by l.task_type nulls first;
end;
$$;

-- Begins to count again: everything of this database, or one task type with its handlers and providers.
create function queues.stats_reset(_task_type text default null)
returns void
language c
as 'MODULE_PATHNAME', 'stats_reset_wrapper';

-- Returns the live workers of this database, from shared memory. Views call functions with the privileges of the role
-- that reads them, so PUBLIC may execute this function; it requires SELECT on one of the views.
create or replace function errand.worker_state(
    out pid integer,
    out worker_number integer,
    out state text,
    out owner bigint,
    out task_id bigint,
    out task_type text,
    out handler text,
    out busy_since timestamptz,
    out in_flight integer,
    out succeeded bigint,
    out failed bigint,
    out started_at timestamptz,
    out recent bigint[],
    out runs integer
)
returns setof record
stable
strict
rows 4
language c
as 'MODULE_PATHNAME', 'worker_state_wrapper';

-- What workers of this database wait for while they run tasks, as in pg_stat_activity, and the processes whose locks they wait
-- for (0: a prepared transaction). PUBLIC may execute it, since queues.running calls it; it cannot be called by name without
-- USAGE on the schema. Only the privileges of the owner show what processes of other roles wait for.
create function errand.worker_waits(
    out pid integer,
    out waits_for text,
    out blocked_by integer[],
    -- since when it waits for a lock
    out blocked_since timestamptz
)
returns setof record
stable
rows 4
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    select
        w.pid,
        a.wait_event_type || ': ' || a.wait_event,
        case
            when a.wait_event_type = 'Lock' then array(
                select distinct b.pid
                from unnest(pg_blocking_pids(w.pid)) as b (pid)
                order by b.pid
            )
        end,
        case
            when a.wait_event_type = 'Lock' then coalesce(
                (
                    select min(l.waitstart)
                    from pg_locks l
                    where l.pid = w.pid
                        and not l.granted
                ),
                w.busy_since
            )
        end
    from errand.worker_state() w
    cross join lateral pg_stat_get_activity(w.pid) a
    where w.task_id is not null
        and a.wait_event is not null;
$$;

-- The time, once for a statement.
create function errand.moment()
returns timestamptz
stable
language sql
as $$
    select pg_catalog.clock_timestamp();
$$;

-- The tasks that workers of this database run or have started, and those whose calls they hold. Shared memory is read after
-- the snapshot was taken. So a task that a worker has started since, and that is unfinished in the snapshot, was running.
create view errand.active_task as
with workers as materialized (
    select w.owner, w.task_id, w.busy_since, w.recent, w.runs
    from errand.worker_state() w
)
select
    a.task_id,
    max(a.busy_since) as busy_since,
    -- the runs that the row may not count yet; null if a worker only holds the call
    max(a.runs) as runs,
    bool_or(a.is_calling) as is_calling
from (
    select w.task_id, w.busy_since, w.runs, false as is_calling
    from workers w
    where w.task_id is not null
    union all
    select unnest(w.recent), null, 1, false
    from workers w
    union all
    select c.task_id, null, null, true
    from only queues.call c
    join workers w on w.owner = c.owner
    where c.request is not null
) a
group by a.task_id;

create function errand.narrows_support(internal)
returns internal
strict
language c
as 'MODULE_PATHNAME', 'narrows_support_wrapper';

-- Always true. PostgreSQL cannot tell that a task whose status is 'failed' has the final status 'failed', and so on. If a
-- query compares the status with constants, the planner replaces this function by what follows for the columns: a comparison of
-- _final_status and _finished, which is true of all tasks that have ended, or _unfinished, which is true of the others, or
-- _running, which is true of all that run. Indexes answer these.
create function errand.narrows(
    _finished_at timestamptz,
    _final_status text,
    _finished boolean,
    _unfinished boolean,
    _running boolean
)
returns boolean
immutable
parallel safe
language c
support errand.narrows_support
as 'MODULE_PATHNAME', 'narrows_wrapper';

-- Tasks with their current status. Planners answer common conditions by index, see docs/decisions/fast-questions.md. The
-- first branch of the status has to be as errand.narrows expects it.
create or replace view queues.task_status as
select
    t.task_id,
    t.task_type,
    case
        when t.finished_at is not null then t.final_status
        when active.runs is not null then 'running'
        when active.is_calling and t.calling then 'running'
        when t.leased and t.not_before > moment.now then 'running'
        when t.scheduled_at > moment.now then 'scheduled'
        else 'ready'
    end as status,
    least(
        t.attempts::bigint + case when t.calling then 0 else coalesce(active.runs, 0) end,
        2147483647
    )::integer as attempts,
    t.enqueued_at,
    t.scheduled_at,
    coalesce(active.busy_since, t.dequeued_at) as started_at,
    t.finished_at,
    (
        select e.error_message
        from only queues.error e
        where e.task_id = t.task_id
        order by e.error_id desc
        limit 1
    ) as last_error,
    t.outcome,
    -- whether the task came from another database, and waits for queues.adopt()
    t.finished_at is null and t.origin <> (select errand.queue_origin()) as unadopted,
    coalesce(t.priority, 0::smallint) as priority,
    t.unique_key,
    t.queue_key,
    t.retry_of
from only queues.task t
-- The offset keeps the time from being read for each row.
cross join (
    select (select errand.moment()) as now
    offset 0
) moment
left join errand.active_task active on active.task_id = t.task_id
    and t.finished_at is null
    and (t.origin = (select errand.queue_origin()) or active.runs is null)
where errand.narrows(
    t.finished_at,
    t.final_status,
    t.finished_at is not null,
    -- each arm is the condition of an index, or a list of tasks
    (t.finished_at is null and not t.calling and t.priority is null and t.queue_key is null)
        or (t.finished_at is null and not t.calling and t.priority is not null and t.queue_key is null)
        or (t.finished_at is null and t.queue_key is not null)
        or (
            t.finished_at is null
            and t.calling
            and t.task_id = any (array(select c.task_id from only queues.call c where c.request is not null))
        ),
    (t.finished_at is null and t.task_id = any (array(select a.task_id from errand.active_task a)))
        or (t.finished_at is null and t.not_before is not null and t.leased)
);

-- The first origin above _above (null: of all) that unfinished tasks have. Indexes begin with the origin, and tasks in a call have
-- a row in queues.call. So the time does not depend on how many tasks there are.
create function errand.next_origin(_above bigint)
returns bigint
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
    select min(o.origin)
    from (
        (
            select t.origin
            from only queues.task t
            where t.finished_at is null
                and not t.calling
                and t.priority is null
                and t.queue_key is null
                and t.origin > coalesce(_above, -9223372036854775808)
            order by t.origin, t.scheduled_at, t.task_id
            limit 1
        )
        union all
        (
            select t.origin
            from only queues.task t
            where t.finished_at is null
                and not t.calling
                and t.priority is not null
                and t.queue_key is null
                and t.origin > coalesce(_above, -9223372036854775808)
            order by t.origin, t.priority, t.scheduled_at, t.task_id
            limit 1
        )
        union all
        (
            select t.origin
            from only queues.task t
            where t.finished_at is null
                and t.queue_key is not null
                and t.origin > coalesce(_above, -9223372036854775808)
            order by t.origin, t.scheduled_at, t.task_id
            limit 1
        )
        union all
        select t.origin
        from only queues.call c
        join only queues.task t on t.task_id = c.task_id
        where t.finished_at is null
            and t.calling
            and t.origin > coalesce(_above, -9223372036854775808)
    ) o;
$$;

-- The unadopted tasks by their origin. PUBLIC may execute it, since queues.unadopted calls it. Without JIT, which takes longer
-- than the query.
create function errand.unadopted(
    out origin bigint,
    out tasks bigint,
    out first_enqueued_at timestamptz,
    out last_enqueued_at timestamptz,
    out first_scheduled_at timestamptz,
    out task_types text[]
)
returns setof record
stable
rows 1
language sql
security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
    with recursive origins (origin) as (
        select errand.next_origin(null)
        union all
        select errand.next_origin(o.origin)
        from origins o
        where o.origin is not null
    )
    select
        o.origin,
        coalesce(sum(t.tasks), 0)::bigint,
        min(t.first_enqueued_at),
        max(t.last_enqueued_at),
        min(t.first_scheduled_at),
        array_agg(t.task_type order by t.task_type)
    from origins o
    cross join lateral (
        select
            t.task_type,
            count(*) as tasks,
            min(t.enqueued_at) as first_enqueued_at,
            max(t.enqueued_at) as last_enqueued_at,
            min(t.scheduled_at) as first_scheduled_at
        from only queues.task t
        where t.origin = o.origin
            and (
                -- each arm is the condition of an index, or a list of tasks
                (t.finished_at is null and not t.calling and t.priority is null and t.queue_key is null)
                or (t.finished_at is null and not t.calling and t.priority is not null and t.queue_key is null)
                or (t.finished_at is null and t.queue_key is not null)
                or (
                    t.finished_at is null
                    and t.calling
                    and t.task_id = any (array(select c.task_id from only queues.call c))
                )
            )
        group by t.task_type
    ) t
    where o.origin <> errand.queue_origin()
    group by o.origin;
$$;

-- Unadopted tasks, by the database from which they came: they do not run here until queues.adopt() is called.
create or replace view queues.unadopted as
select u.origin, u.tasks, u.first_enqueued_at, u.last_enqueued_at, u.first_scheduled_at
from errand.unadopted() u;

-- Privileges by kind of role: enqueuer, operator, monitor and outside_worker, and the roles to which each was granted. This is
-- the list; an object that does not exist is left out.
create view queues.role_privilege as
with privilege (kinds, name, object_type, object) as (
    values
        ('{enqueuer,operator,monitor,outside_worker}'::text[], 'usage', 'schema', 'queues'),
        ('{enqueuer}', 'execute', 'function', 'enqueue'),
        ('{enqueuer}', 'execute', 'function', 'enqueue_many'),
        ('{enqueuer}', 'execute', 'function', 'http_get'),
        ('{enqueuer}', 'execute', 'function', 'http_post'),
        ('{outside_worker}', 'execute', 'function', 'append_error'),
        ('{outside_worker}', 'execute', 'function', 'complete_task'),
        ('{outside_worker}', 'execute', 'function', 'dequeue_next_available_task'),
        ('{outside_worker}', 'execute', 'function', 'fail_task'),
        ('{operator}', 'execute', 'function', 'adopt'),
        ('{operator}', 'execute', 'function', 'cancel'),
        ('{operator}', 'execute', 'function', 'cancel_where'),
        ('{operator}', 'execute', 'function', 'drain'),
        ('{operator}', 'execute', 'function', 'end_lease'),
        ('{operator,monitor}', 'execute', 'function', 'explain'),
        ('{operator}', 'execute', 'function', 'failures'),
        ('{operator}', 'execute', 'function', 'last_ended'),
        ('{operator,monitor}', 'execute', 'function', 'metrics_text'),
        ('{operator}', 'execute', 'function', 'pause'),
        ('{operator}', 'execute', 'function', 'pause_key'),
        ('{operator}', 'execute', 'function', 'pause_provider'),
        ('{operator}', 'execute', 'function', 'purge'),
        ('{operator,monitor}', 'execute', 'function', 'report'),
        ('{operator}', 'execute', 'function', 'reschedule'),
        ('{operator}', 'execute', 'function', 'resume'),
        ('{operator}', 'execute', 'function', 'resume_key'),
        ('{operator}', 'execute', 'function', 'resume_provider'),
        ('{operator}', 'execute', 'function', 'retry'),
        ('{operator}', 'execute', 'function', 'retry_failed'),
        ('{operator}', 'execute', 'function', 'run_next'),
        ('{operator}', 'execute', 'function', 'stats_reset'),
        ('{operator,monitor}', 'execute', 'function', 'throughput'),
        ('{operator}', 'execute', 'function', 'top'),
        ('{operator}', 'select', 'table', 'error'),
        ('{operator}', 'select', 'table', 'failure'),
        ('{operator,monitor}', 'select', 'table', 'health'),
        ('{operator,monitor}', 'select', 'table', 'metrics'),
        ('{operator,monitor}', 'select', 'table', 'oldest_ready'),
        ('{operator,monitor}', 'select', 'table', 'paused'),
        ('{operator,monitor}', 'select', 'table', 'paused_key'),
        ('{operator,monitor}', 'select', 'table', 'provider_status'),
        ('{operator,monitor}', 'select', 'table', 'role_privilege'),
        ('{operator,monitor}', 'select', 'table', 'running'),
        ('{operator,monitor}', 'select', 'table', 'stats'),
        ('{operator,monitor}', 'select', 'table', 'stats_buckets'),
        ('{operator,monitor}', 'select', 'table', 'stats_history'),
        ('{operator,monitor}', 'select', 'table', 'stats_info'),
        ('{operator}', 'select', 'table', 'task_status'),
        -- Without what handlers and providers have said.
        ('{monitor}', 'select', 'columns', 'task_status'),
        ('{operator,monitor}', 'select', 'table', 'unadopted'),
        ('{operator,monitor}', 'select', 'table', 'waiting'),
        ('{operator,monitor}', 'select', 'table', 'worker')
)
select
    k.kind,
    o.privilege,
    o.object,
    array(
        select distinct a.grantee::regrole
        from aclexplode(o.acl) a
        where a.privilege_type = upper(p.name)
    ) as granted_to
from privilege p
cross join lateral unnest(p.kinds) as k (kind)
cross join lateral (
    select p.name as privilege, 'schema queues' as object, n.nspacl as acl
    from pg_namespace n
    where p.object_type = 'schema'
        and n.nspname = p.object
    union all
    select p.name, format('function queues.%I(%s)', f.proname, oidvectortypes(f.proargtypes)), f.proacl
    from pg_proc f
    where p.object_type = 'function'
        and f.pronamespace = to_regnamespace('queues')
        and f.proname = p.object
    union all
    select p.name, format('table queues.%I', c.relname), c.relacl
    from pg_class c
    where p.object_type = 'table'
        and c.relnamespace = to_regnamespace('queues')
        and c.relname = p.object
    union all
    select
        format('%s (%s)', p.name, string_agg(quote_ident(a.attname), ', ' order by a.attnum)),
        format('table queues.%I', c.relname),
        (
            select f.attacl
            from pg_attribute f
            where f.attrelid = c.oid
                and f.attnum = min(a.attnum)
        )
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where p.object_type = 'columns'
        and c.relnamespace = to_regnamespace('queues')
        and c.relname = p.object
        and a.attname not in ('last_error', 'outcome')
    group by c.oid, c.relname
) o;

-- Grants the privileges of a kind to a role, or revokes them. It has the rights of its caller. A role needs no USAGE on this
-- schema for it, since the functions below refer to it by its OID; PUBLIC may execute it.
create function errand.change_role(_role regrole, _kind text, _grants boolean)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _name name := (select r.rolname from pg_catalog.pg_roles r where r.oid = _role);
    _kept text[];
    _privilege record;
    _wrong text;
begin
    if _name is null then
        raise exception 'there is no such role'
            using errcode = 'undefined_object',
                  hint = 'Name a role that exists; to_regrole() is null for others.';
    end if;
    if not exists (select 1 from queues.role_privilege p where p.kind = _kind) or _kind is null then
        raise exception 'unknown kind of role "%"', coalesce(_kind, '')
            using errcode = 'invalid_parameter_value',
                  hint = (
                      select format('Known kinds are: %s.', string_agg(distinct p.kind, ', '))
                      from queues.role_privilege p
                  );
    end if;

    _kept := array(
        select p.kind
        from queues.role_privilege p
        where not _grants
            and p.kind <> _kind
        group by p.kind
        having bool_and(_role = any (p.granted_to))
    );

    for _privilege in
        select p.privilege, p.object
        from queues.role_privilege p
        where p.kind = _kind
            and (
                _grants
                -- What the role has as one of another kind, and the schema as long as it has anything there, remains.
                or p.object <> 'schema queues' and p.object || p.privilege not in (
                    select o.object || o.privilege
                    from queues.role_privilege o
                    where o.kind = any (_kept)
                )
            )
    loop
        execute format(
            case when _grants then 'grant %s on %s to %I' else 'revoke %s on %s from %I' end,
            _privilege.privilege,
            _privilege.object,
            _name
        );
        _wrong := coalesce(
            _wrong,
            (
                select format('%s on %s', p.privilege, p.object)
                from queues.role_privilege p
                where p.kind = _kind
                    and p.privilege = _privilege.privilege
                    and p.object = _privilege.object
                    and (_role = any (p.granted_to)) <> _grants
            )
        );
    end loop;
    -- To revoke a privilege on a table is to revoke that on its columns.
    for _privilege in
        select p.privilege, p.object
        from queues.role_privilege p
        where p.kind = any (_kept)
            and _role <> all (p.granted_to)
    loop
        execute format('grant %s on %s to %I', _privilege.privilege, _privilege.object, _name);
    end loop;
    -- Without a grant option, PostgreSQL only warns.
    if _wrong is not null then
        raise exception 'permission denied to % role "%" as %', case when _grants then 'have' else 'remove' end, _name, _kind
            using errcode = 'insufficient_privilege',
                  detail = format('This privilege was not changed: %s.', _wrong),
                  hint = 'The owner of the extension may do this, or a role that was granted these privileges WITH GRANT OPTION.';
    end if;

    if not _grants and not exists (
        select 1
        from (
            select f.proacl as acl
            from pg_proc f
            where f.pronamespace = to_regnamespace('queues')
            union all
            select c.relacl
            from pg_class c
            where c.relnamespace = to_regnamespace('queues')
            union all
            select a.attacl
            from pg_class c
            join pg_attribute a on a.attrelid = c.oid
            where c.relnamespace = to_regnamespace('queues')
        ) o
        cross join lateral aclexplode(o.acl) a
        where a.grantee = _role
    ) then
        execute format('revoke usage on schema queues from %I', _name);
    end if;
end;
$$;

-- Grants a role all that a role of this kind needs: enqueuer, operator, monitor or outside_worker. An enqueuer also needs
-- queues.grant_enqueue for each task type that is not open to all.
create function queues.grant_role(_role regrole, _kind text)
returns void
language sql
return errand.change_role(_role, _kind, true);

-- Reverses queues.grant_role.
create function queues.revoke_role(_role regrole, _kind text)
returns void
language sql
return errand.change_role(_role, _kind, false);

-- Returns what keeps the workers of this database from running: nothing if they can run, or if the server is a standby.
-- _version is the version of the extension in this database.
create function errand.problems_of_workers(
    _version text,
    out problem text,
    out explanation text,
    out until timestamptz,
    out hint text
)
returns setof record
volatile
strict
rows 1
language c
as 'MODULE_PATHNAME', 'problems_of_workers_wrapper';

-- Returns what is wrong with task types and providers, so that tasks fail.
create function errand.problems_of_definitions(out explanation text, out hint text)
returns setof record
volatile
rows 1
language c
as 'MODULE_PATHNAME', 'problems_of_definitions_wrapper';

-- The name of the role that the workers of this database connect as.
create function errand.worker_role()
returns text
volatile
language c
as 'MODULE_PATHNAME', 'worker_role_wrapper';

-- Returns what the workers' role lacks of what handlers need to enqueue: the statements that grant it.
create function errand.missing_grants(_role text)
returns setof text
language sql
stable
rows 1
set search_path = pg_catalog, pg_temp
as $$
    select string_agg(format('GRANT %s TO %I;', needed.privilege, r.rolname), ' ' order by needed.place)
    from pg_roles r
    cross join lateral (
        select 1, 'USAGE ON SCHEMA queues'
        where not has_schema_privilege(r.oid, 'queues', 'usage')
        union all
        select 2, 'USAGE ON SCHEMA internal'
        where not has_schema_privilege(r.oid, to_regnamespace('internal')::oid, 'usage')
        union all
        select 3, 'EXECUTE ON FUNCTION queues.enqueue'
        where not has_function_privilege(r.oid, 'queues.enqueue'::regproc, 'execute')
        union all
        select 4, 'EXECUTE ON FUNCTION internal.run_function(text, jsonb)'
        where not has_function_privilege(r.oid, to_regprocedure('internal.run_function(text, jsonb)')::oid, 'execute')
    ) as needed (place, privilege)
    where r.rolname = _role
    having count(*) > 0;
$$;

-- The finished task that should have been removed longest ago, among the 1000 with the lowest numbers; no row if none of them has
-- ended. overdue is null if it is kept for ever, and negative before it may be removed.
create function errand.most_overdue(
    out task_id bigint,
    out finished_at timestamptz,
    out overdue interval
)
returns setof record
language sql
volatile
rows 1
set search_path = pg_catalog, pg_temp
as $$
    select
        t.task_id,
        t.finished_at,
        clock_timestamp() - t.finished_at - errand.kept_for(
            case when t.final_status = 'succeeded' then d.keep_succeeded_for else d.keep_failed_for end,
            current_setting('pg_errand.retention', true)::interval
        )
    from (
        select f.task_id, f.task_type, f.finished_at, f.final_status
        from only queues.task f
        order by f.task_id
        limit 1000
    ) t
    left join only queues.task_definition d on d.task_type = t.task_type
    where isfinite(t.finished_at)
    order by 3 desc nulls last
    limit 1;
$$;

-- The problem that handlers wait for locks of other sessions: as an error if all workers do, so that ready tasks do not start.
-- Those that wait for less than 5 seconds, or a minute if not all workers do, are no problem. In PL/pgSQL, since errand.waiting is
-- created later.
create function errand.problems_of_locks(out severity text, out subject text, out explanation text, out hint text)
returns setof record
language plpgsql
volatile
rows 1
set search_path = pg_catalog, pg_temp
as $$
declare
    _all record;
    _first record;
begin
    select count(*) as workers, count(x.pid) as blocked, max(x.blocked_since) as since
    into _all
    from errand.worker_state() w
    left join errand.worker_waits() x on x.pid = w.pid
        and x.blocked_since < clock_timestamp() - interval '5 seconds';
    if _all.blocked = 0 then
        return;
    end if;

    select x.pid, x.blocked_by, x.blocked_since, w.task_id
    into _first
    from errand.worker_waits() x
    join errand.worker_state() w on w.pid = x.pid
    where x.blocked_since is not null
        and w.task_id is not null
    order by x.blocked_since, x.pid
    limit 1;
    if not found then
        return;
    end if;

    if _all.blocked = _all.workers
        and exists (select 1 from errand.waiting() q where q.reason in ('workers_busy', 'behind'))
    then
        severity := 'error';
        explanation := format('All %s workers wait for locks of other sessions, and ready tasks do not start.', _all.workers);
    elsif _first.blocked_since < clock_timestamp() - interval '1 minute' then
        severity := 'warning';
        explanation := format('%s of %s workers wait for locks of other sessions.', _all.blocked, _all.workers);
    else
        return;
    end if;
    subject := 'task ' || _first.task_id;
    explanation := explanation || format(
        ' Task %s has waited in worker %s for process %s since %s.',
        _first.task_id, _first.pid, array_to_string(_first.blocked_by, ', '), _first.blocked_since
    );
    hint := format('See: SELECT * FROM queues.explain(%s);', _first.task_id);
    return next;
end;
$$;

-- The problems of this database and of the server, as far as they concern its tasks. It reads settings files and the
-- tables of the extension with the privileges of the owner, and returns no payload, no message of a task and no secret. Without
-- JIT, which takes longer than the query.
create function errand.health(
    out problem text,
    out severity text,
    out subject text,
    out explanation text,
    out until timestamptz,
    out hint text
)
returns setof record
volatile
rows 10
language sql
security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
    with waiting as materialized (
        -- the tasks that wait; only read if something is found that they may wait for
        select
            w.task_type,
            coalesce(d.provider, current_setting(d.provider_setting, true)) as provider,
            w.reason,
            w.tasks
        from errand.waiting() w
        left join only queues.task_definition d on d.task_type = w.task_type
        union all
        select null, s.name, 'call_queued', s.queued
        from queues.provider_status s
        where s.queued > 0
    ),
    failed as materialized (
        select e.error_message
        from (
            select l.error_message, l.created_at
            from only queues.error l
            order by l.error_id desc
            limit 1000
        ) e
        where e.created_at > clock_timestamp() - interval '1 day'
    ),
    restart (hint) as materialized (
        -- the configuration has a larger value already
        select format('max_worker_processes = %s is set in the file; restart the server.', f.setting)
        from pg_settings s
        cross join lateral (
            select l.setting
            from pg_file_settings l
            where l.name = s.name
            order by l.seqno desc
            limit 1
        ) f
        where s.name = 'max_worker_processes'
            and s.pending_restart
            and case when f.setting ~ '^[0-9]{1,9}$' then f.setting::integer > s.setting::integer end
    )
    select
        w.problem,
        'error',
        current_database()::text,
        w.explanation,
        w.until,
        case
            when w.problem = 'no_process' then coalesce((select r.hint from restart r), w.hint)
            else w.hint
        end
    from pg_extension e
    cross join lateral errand.problems_of_workers(e.extversion) w
    where e.extname = 'pg_errand'

    union all
    select
        'database_paused',
        'warning',
        current_database()::text,
        format('Role "%s" has paused the database at %s%s.', p.paused_by, p.paused_at, ': ' || p.reason),
        p.paused_until,
        'Run: SELECT queues.resume();'
    from only queues.paused p
    where p.task_type is null
        and p.provider is null
        and (p.paused_until is null or p.paused_until > clock_timestamp())

    union all
    select
        'type_paused',
        'warning',
        p.task_type,
        format(
            'Role "%s" has paused task type "%s" at %s%s; tasks that wait: %s.',
            p.paused_by, p.task_type, p.paused_at, ': ' || p.reason, w.tasks
        ),
        p.paused_until,
        format('Run: SELECT queues.resume(%L);', p.task_type)
    from only queues.paused p
    cross join lateral (
        select sum(w.tasks)
        from waiting w
        where w.task_type = p.task_type
            and w.reason = 'type_paused'
    ) as w (tasks)
    where p.task_type is not null
        and (p.paused_until is null or p.paused_until > clock_timestamp() + interval '1 hour')
        and w.tasks > 0

    union all
    select
        'provider_paused_by_operator',
        'warning',
        p.provider,
        format(
            'Role "%s" has paused provider "%s" at %s%s; tasks that wait: %s.',
            p.paused_by, p.provider, p.paused_at, ': ' || p.reason, w.tasks
        ),
        p.paused_until,
        format('Run: SELECT queues.resume_provider(%L);', p.provider)
    from only queues.paused p
    cross join lateral (
        select sum(w.tasks)
        from waiting w
        where w.provider = p.provider
            and w.reason in ('provider_paused_by_operator', 'call_queued')
    ) as w (tasks)
    where p.provider is not null
        and (p.paused_until is null or p.paused_until > clock_timestamp() + interval '1 hour')
        and w.tasks > 0

    union all
    select
        'breaker_open',
        case
            when exists (
                select 1
                from waiting w
                where w.provider = p.name
                    and w.reason in ('breaker_open', 'call_queued')
            ) then 'error'
            else 'warning'
        end,
        p.name,
        format('The circuit breaker of provider "%s" is open after %s failures.', p.name, p.consecutive_failures),
        p.breaker_until,
        format(
            'See queues.provider_status, and queues.failures(). To close the circuit breaker, run: UPDATE queues.provider SET name = name WHERE name = %L;',
            p.name
        )
    from errand.provider_state() p
    where p.breaker = 'open'

    union all
    select 'handlers_blocked', l.severity, l.subject, l.explanation, null, l.hint
    from errand.problems_of_locks() l

    union all
    -- Most databases use few of the built-in providers, so these matter only if tasks have failed.
    select
        'secret_missing',
        case
            when f.has_failed or exists (select 1 from waiting w where w.provider = p.name) then 'error'
            else 'warning'
        end,
        p.name,
        format('No request can be sent to provider "%s": %s.', p.name, p.secret_problem),
        null,
        'The secret is looked up for each request. Once it is there, run failed tasks again with queues.retry_failed, and failed retries with _retries => true.'
    from errand.provider_state() p
    join only queues.provider r on r.name = p.name
    cross join lateral (
        select exists (select 1 from failed f where position(p.secret_problem in f.error_message) > 0)
    ) as f (has_failed)
    where p.secret_problem is not null
        and (f.has_failed or not r.built_in)

    union all
    select
        'definition_unusable',
        'error',
        null,
        d.explanation,
        null,
        d.hint
    from errand.problems_of_definitions() d

    union all
    select
        'role_lacks_rights',
        'warning',
        r.name,
        format('Role "%s" lacks privileges of the extension that handlers need to enqueue tasks.', r.name),
        null,
        'Run: ' || g.statements
    from (select errand.worker_role()) r (name)
    cross join lateral errand.missing_grants(r.name) g (statements)

    union all
    select
        'unadopted_tasks',
        'warning',
        current_database()::text,
        format(
            '%s tasks came from another database, enqueued there from %s to %s (types: %s); they do not run here.',
            u.tasks, u.first_enqueued_at, u.last_enqueued_at, array_to_string(u.task_types[:10], ', ')
        ),
        null,
        format(
            'If that database will not run them, run: SELECT queues.adopt(); if it does, run: DELETE FROM queues.task WHERE origin = %s AND finished_at IS NULL;',
            u.origin
        )
    from errand.unadopted() u

    union all
    select
        'retention_behind',
        'warning',
        'task ' || o.task_id,
        format('Task %s ended at %s and should have been removed.', o.task_id, o.finished_at),
        null,
        'See the server log for tasks that cannot be removed, such as those to which a foreign key refers.'
    from errand.most_overdue() o
    -- Workers remove tasks up to an hour later than they may, many at once.
    where o.overdue > interval '2 hours'

    union all
    select
        'clock_set_back',
        'warning',
        'task ' || latest.task_id,
        format('Task %s was enqueued at %s, which is in the future: the clock of the server was set back.', latest.task_id, latest.enqueued_at),
        latest.enqueued_at,
        'Tasks that were enqueued before wait until the clock shows their time again. To run them now, set scheduled_at of the waiting ones to now().'
    from (
        select t.task_id, t.enqueued_at
        from (
            select last.task_id, last.enqueued_at, last.finished_at
            from only queues.task last
            order by last.task_id desc
            limit 100
        ) t
        where t.enqueued_at > clock_timestamp() + interval '10 seconds'
            and t.finished_at is null
        order by t.enqueued_at desc
        limit 1
    ) latest

    union all
    select
        'setting_not_applied',
        'warning',
        f.name,
        -- A text may be a secret, and the value of an unknown setting, too.
        format(
            case
                when f.name is null then '%s line %s cannot be read, so that no change of the configuration is applied: syntax error.'
                else '%s line %s sets %s%s, which is not applied: %s.'
            end,
            f.sourcefile,
            f.sourceline,
            f.name,
            case when s.vartype <> 'string' then format(' to "%s"', f.setting) end,
            case
                when s.name is null then 'there is no such setting'
                when s.context = 'postmaster' then 'it needs a restart'
                when s.vartype in ('integer', 'real') then format('a number from %s to %s is required%s', s.min_val, concat_ws(' ', s.max_val, s.unit), case when s.unit is not null then ', or one with another unit' else '' end)
                when s.vartype = 'bool' then 'on or off is required'
                when s.vartype = 'enum' then format('one of %s is required', array_to_string(s.enumvals, ', '))
                else 'the value is not valid'
            end
        ),
        null,
        case
            when s.context = 'postmaster' then 'Restart the server.'
            when s.unit in ('ms', 's') then format(
                'Write the time with a unit (us, ms, s, min, h, d), such as %s = ''%s'', then run: SELECT pg_reload_conf();',
                f.name,
                case s.unit when 's' then '7d' else '30s' end
            )
            when s.unit = 'B' then format(
                'Write the size with a unit (B, kB, MB, GB, TB), such as %s = ''1MB'', then run: SELECT pg_reload_conf();',
                f.name
            )
            else 'Correct the file, then run: SELECT pg_reload_conf();'
        end
    from pg_file_settings f
    left join pg_settings s on s.name = f.name
    where (f.name is null or f.name like 'pg\_errand.%' or f.name = 'shared_preload_libraries' and f.setting like '%pg\_errand%')
        and f.error is not null
        and not exists (
            select 1
            from pg_file_settings later
            where later.name = f.name
                and later.seqno > f.seqno
                and later.applied
        )

    union all
    select
        'too_few_workers',
        'warning',
        'pg_errand.concurrency',
        format(
            'pg_errand.concurrency is %s, but pg_errand.max_workers allows %s workers for all databases.',
            s.concurrency, s.max_workers
        ),
        null,
        'Raise pg_errand.max_workers, or lower pg_errand.concurrency.'
    from (
        select
            current_setting('pg_errand.concurrency', true)::integer,
            current_setting('pg_errand.max_workers', true)::integer
    ) as s (concurrency, max_workers)
    where s.concurrency > s.max_workers

    union all
    select
        'too_few_processes',
        'warning',
        'max_worker_processes',
        format(
            'max_worker_processes is %s, and the launcher%s and pg_errand.max_workers need %s.',
            s.processes,
            case when s.others > 0 then ', that of logical replication' else '' end,
            s.max_workers + 1 + s.others
        ),
        null,
        coalesce(
            (select r.hint from restart r),
            'Raise max_worker_processes (this needs a restart of the server), which parallel queries and replication share, or lower pg_errand.max_workers.'
        )
    from (
        select
            current_setting('max_worker_processes')::integer,
            current_setting('pg_errand.max_workers', true)::integer,
            -- the launcher of logical replication
            least(current_setting('max_logical_replication_workers')::integer, 1)
    ) as s (processes, max_workers, others)
    where s.processes < s.max_workers + 1 + s.others

    union all
    select
        'autovacuum_off',
        'warning',
        c.name,
        format('autovacuum is off for %s, so dead rows of ended tasks stay.', c.name),
        null,
        case
            when current_setting('autovacuum')::boolean then format('Run: ALTER TABLE %s RESET (autovacuum_enabled);', c.name)
            else 'Turn the setting autovacuum on.'
        end
    from (
        select t.oid::regclass::text, t.reloptions
        from pg_class t
        where t.oid in ('queues.task'::regclass, 'queues.error'::regclass, 'queues.call'::regclass)
    ) as c (name, reloptions)
    where not current_setting('autovacuum')::boolean
        or exists (
            select 1
            from pg_options_to_table(c.reloptions) o
            where o.option_name = 'autovacuum_enabled'
                and not o.option_value::boolean
        );
$$;

-- What needs attention: a row per problem. No row means that the machinery is well, not that no task waits or fails.
create view queues.health as
select h.problem, h.severity, h.subject, h.explanation, h.until, h.hint
from errand.health() h
order by h.severity, h.problem, h.subject;

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

-- What messages of the same cause have in common: numbers, quoted texts, UUIDs, hexadecimal numbers, e-mail addresses and times
-- are replaced. PUBLIC may execute it, since queues.failure calls it.
create function errand.message_shape(_message text)
returns text
immutable
strict
parallel safe
language c
as 'MODULE_PATHNAME', 'message_shape_wrapper';

-- What runs now, and since when.
create view queues.running as
with workers as materialized (
    select w.pid, w.owner, w.task_id, w.task_type, w.handler, w.busy_since
    from errand.worker_state() w
),
-- read once for both columns
waits as materialized (
    select x.pid, x.waits_for, x.blocked_by
    from errand.worker_waits() x
)
select
    w.task_id,
    w.task_type,
    -- where it runs: in a worker, between the steps of its call, or outside
    'worker' as runs_in,
    w.handler,
    null::text as provider,
    w.busy_since as since,
    w.pid,
    -- when its lease ends
    null::timestamptz as until,
    (
        select coalesce(t.priority, 0::smallint)
        from only queues.task t
        where t.task_id = w.task_id
    ) as priority,
    (
        select t.queue_key
        from only queues.task t
        where t.task_id = w.task_id
    ) as queue_key,
    -- what the worker waits for, and the processes whose locks it waits for
    (
        select x.waits_for
        from waits x
        where x.pid = w.pid
    ) as waits_for,
    (
        select x.blocked_by
        from waits x
        where x.pid = w.pid
    ) as blocked_by
from workers w
where w.task_id is not null
union all
select
    t.task_id,
    t.task_type,
    'call',
    null,
    c.provider,
    c.requested_at,
    w.pid,
    null,
    coalesce(t.priority, 0::smallint),
    t.queue_key,
    null,
    null
from only queues.call c
join workers w on w.owner = c.owner
join only queues.task t on t.task_id = c.task_id
where c.request is not null
    and t.finished_at is null
    and t.calling
    and not exists (
        select 1
        from workers o
        where o.task_id = c.task_id
    )
union all
select
    t.task_id,
    t.task_type,
    'outside',
    null,
    null,
    t.dequeued_at,
    null,
    t.not_before,
    coalesce(t.priority, 0::smallint),
    t.queue_key,
    null,
    null
from only queues.task t
where t.finished_at is null
    and t.not_before is not null
    and t.not_before > (select errand.moment())
    and t.leased
    and not t.calling;

-- The tasks that wait, by type and by what their rows say, but for those in a call. Statements would take ten times as long.
create function errand.count_waiting(
    out task_type text,
    out class text,
    out tasks bigint,
    out oldest timestamptz,
    out until timestamptz,
    out task_id bigint,
    out other_task_id bigint
)
returns setof record
stable
rows 20
language c
as 'MODULE_PATHNAME', 'count_waiting_wrapper';

-- The tasks that wait, by type and by what their rows say. PUBLIC may execute it, since queues.waiting calls it; it cannot be
-- called by name without USAGE on the schema. Without JIT, which takes longer than the query.
create function errand.waiting_groups(
    out task_type text,
    -- what the row says; 'ready' and 'key_ready' if nothing
    out class text,
    out tasks bigint,
    out oldest timestamptz,
    out until timestamptz,
    -- the oldest of them, and another one
    out task_id bigint,
    out other_task_id bigint
)
returns setof record
stable
rows 20
language sql
security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
    select w.task_type, w.class, w.tasks, w.oldest, w.until, w.task_id, w.other_task_id
    from errand.count_waiting() w
    union all
    -- calls whose worker is gone
    select t.task_type, 'call', count(*), min(t.scheduled_at), null, min(t.task_id), max(t.task_id)
    from only queues.call c
    join only queues.task t on t.task_id = c.task_id
    where c.request is not null
        and t.finished_at is null
        and t.calling
        and not exists (
            select 1
            from errand.active_task a
            where a.task_id = t.task_id
        )
    group by t.task_type;
$$;

-- The groups of waiting tasks, each with the reason why its tasks wait. queues.explain is asked about the oldest task of each
-- group, and about another one if the reason concerns that task alone.
create view errand.waiting_reason as
select
    g.task_type,
    g.class,
    e.reason,
    g.tasks,
    g.oldest,
    coalesce(g.until, e.until) as until,
    e.task_id,
    e.hint
from errand.waiting_groups() g
cross join lateral (
    -- The first task is asked about once more if the reasons of both concern one task alone.
    select e.*
    from unnest(array[g.task_id, g.other_task_id, g.task_id]) with ordinality r (task_id, place)
    cross join lateral queues.explain(r.task_id) e
    where r.place = 3
        or e.reason not in ('finished', 'running', 'locked', 'uncommitted', 'interrupted')
    limit 1
) e;

-- What waits and why. Without JIT, as above.
create function errand.waiting(
    out task_type text,
    out reason text,
    out tasks bigint,
    out oldest timestamptz,
    out until timestamptz,
    out task_id bigint,
    out hint text
)
returns setof record
volatile
rows 20
language sql
security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
    select
        w.task_type,
        w.reason,
        sum(w.tasks)::bigint,
        min(w.oldest),
        min(w.until),
        min(w.task_id),
        min(w.hint)
    from errand.waiting_reason w
    group by w.task_type, w.reason
    order by 3 desc, 1, 2;
$$;

create view queues.waiting as
select w.task_type, w.reason, w.tasks, w.oldest, w.until, w.task_id, w.hint
from errand.waiting() w;

-- The oldest task of each type that is ready.
create view queues.oldest_ready as
select distinct on (g.task_type)
    g.task_type,
    g.task_id,
    g.oldest as scheduled_at,
    case when isfinite(g.oldest) then (select errand.moment()) - g.oldest end as age
from errand.waiting_groups() g
where g.class in ('ready', 'key_ready')
order by g.task_type, g.oldest, g.task_id;

-- Errors, the newest of which indexes find by failed_at and by error_id.
create view queues.failure as
select
    e.error_id,
    e.task_id,
    e.task_type,
    e.handler,
    e.created_at as failed_at,
    e.attempt,
    e.sqlstate,
    e.error_message as message,
    e.detail,
    e.hint,
    errand.message_shape(e.error_message) as shape
from only queues.error e;

-- Errors since a time, by the shape of their message. A statement would take three times as long.
create function errand.failure_shapes(
    _since timestamptz,
    out shape text,
    out failures bigint,
    out first_at timestamptz,
    out last_at timestamptz,
    out task_types text[],
    out sqlstates text[],
    out last_id bigint
)
returns setof record
stable
strict
rows 20
language c
as 'MODULE_PATHNAME', 'failure_shapes_wrapper';

-- The errors of the last time, by the shape of their message. The example is the latest one.
create function queues.failures(
    _since interval default '1 hour',
    out shape text,
    out failures bigint,
    out first_at timestamptz,
    out last_at timestamptz,
    out task_types text[],
    out sqlstates text[],
    out example_task_id bigint,
    out example_message text
)
returns setof record
stable
rows 20
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    select s.shape, s.failures, s.first_at, s.last_at, s.task_types, s.sqlstates, e.task_id, e.error_message
    from errand.failure_shapes(clock_timestamp() - _since) s
    -- This is not a join, since a plan for a small table would read all of it.
    cross join lateral (
        select e.task_id, e.error_message
        from only queues.error e
        where e.error_id = s.last_id
        limit 1
    ) e
    order by s.failures desc, s.last_at desc;
$$;

-- The last tasks of a type that ended, the last one first. The statistics know the last 32 of each type; if these are
-- fewer than are asked for, the whole table is read.
create function queues.last_ended(
    _task_type text,
    _limit integer default 20,
    out task_id bigint,
    out status text,
    out attempts integer,
    out enqueued_at timestamptz,
    out started_at timestamptz,
    out finished_at timestamptz,
    out last_error text
)
returns setof record
volatile
strict
rows 20
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
#variable_conflict use_column
declare
    _found bigint[];
begin
    if _limit < 0 then
        raise exception 'the number of tasks must not be negative'
            using errcode = 'invalid_parameter_value',
                  hint = 'Give a limit such as 20.';
    end if;

    _found := array(
        select t.task_id
        from only queues.task t
        where t.task_id = any (array(select errand.last_ended(_task_type)))
            and t.task_type = _task_type
            and t.finished_at is not null
        order by t.finished_at desc, t.task_id desc
        limit _limit
    );

    if cardinality(_found) < _limit then
        _found := array(
            select t.task_id
            from only queues.task t
            where t.task_type = _task_type
                and t.finished_at is not null
            order by t.finished_at desc, t.task_id desc
            limit _limit
        );
    end if;

    return query
    select t.task_id, t.status, t.attempts, t.enqueued_at, t.started_at, t.finished_at, t.last_error
    from queues.task_status t
    where t.task_id = any (_found)
        and t.finished_at is not null
    order by t.finished_at desc, t.task_id desc;
end;
$$;

-- Whether the library is preloaded, its version, and which settings hold a secret: never the secrets.
create function errand.library_state(
    out version text,
    out is_preloaded boolean,
    out secrets_set text[]
)
returns setof record
volatile
rows 1
language c
as 'MODULE_PATHNAME', 'library_state_wrapper';

-- Seconds since 1970; null for infinity, which JSON does not have.
create function errand.epoch(_at timestamptz)
returns double precision
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
    select case when isfinite(_at) then extract(epoch from _at)::double precision end;
$$;

create function errand.report_head(_from timestamptz, _to timestamptz)
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'database', current_database(),
        'cluster', nullif(current_setting('cluster_name'), ''),
        'server_version', current_setting('server_version'),
        'extension_version', e.extversion,
        'library_version', l.version,
        'is_preloaded', l.is_preloaded,
        'is_standby', pg_is_in_recovery(),
        'started_at', errand.epoch(pg_postmaster_start_time()),
        'made_at', errand.epoch(clock_timestamp()),
        'from', errand.epoch(_from),
        'to', errand.epoch(_to),
        'utc_offset', extract(timezone from _to)::bigint,
        'time_zone', current_setting('TimeZone')
    )
    from errand.library_state() l
    left join pg_extension e on e.extname = 'pg_errand';
$$;

create function errand.report_problems()
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object('rows', coalesce(jsonb_agg(to_jsonb(p) order by p.severity, p.problem), '[]'))
    from (
        select h.problem, h.severity, left(h.explanation, 1000) as explanation, left(h.hint, 1000) as hint
        from queues.health h
        order by h.severity, h.problem
        limit 30
    ) p;
$$;

-- The history in steps of equal length, at most some 400. Minutes are kept for a day; before that there are hours, and the
-- hour that is not over has minutes only. Of times, a step has the highest quantile of its rows.
create function errand.report_history(_from timestamptz, _to timestamptz)
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    with span as materialized (
        select
            case
                when _from >= clock_timestamp() - interval '1 day 10 minutes' then 'minute'
                else 'hour'
            end as resolution,
            extract(epoch from _to - _from) as seconds
    ),
    chosen as materialized (
        select
            s.resolution,
            (
                select min(step)
                from unnest('{60,120,300,600,900,1800,3600,7200,14400,21600,43200,86400}'::integer[]) as step
                where step >= s.seconds / 400
                    and (step >= 3600 or s.resolution = 'minute')
            ) as step
        from span s
    ),
    last_hour as materialized (
        select coalesce(max(h.at) + interval '1 hour', '-infinity') as ends_at
        from only queues.stats_history h
        where h.resolution = 'hour'
    ),
    bin as (
        select
            date_bin(make_interval(secs => c.step), h.at, date_trunc('day', _from)) as at,
            sum(h.succeeded) as succeeded,
            sum(h.failed) as failed,
            sum(h.cancelled) as cancelled,
            sum(h.calls) as calls,
            sum(h.failed_calls) as failed_calls,
            max(h.busy_workers) as busy_workers,
            jsonb_build_array(max(h.waiting_p50), max(h.waiting_p95), max(h.waiting_p99)) as waiting,
            jsonb_build_array(max(h.running_p50), max(h.running_p95), max(h.running_p99)) as running,
            jsonb_build_array(max(h.provider_p50), max(h.provider_p95), max(h.provider_p99)) as provider
        from chosen c
        cross join last_hour l
        join only queues.stats_history h on h.at >= date_trunc(c.resolution, _from)
            and h.at < _to
            and (h.resolution = c.resolution or h.resolution = 'minute' and h.at >= l.ends_at)
        group by 1
    )
    select jsonb_build_object(
        'step', (select c.step from chosen c),
        'resolution', (select c.resolution from chosen c),
        'bins', coalesce(
            (
                select jsonb_agg(to_jsonb(b) || jsonb_build_object('at', errand.epoch(b.at)) order by b.at)
                from bin b
            ),
            '[]'
        )
    );
$$;

-- Of types, handlers and providers those with most tasks, time or calls.
create function errand.report_stats()
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    with stats as materialized (
        select
            s.*,
            case
                when s.provider is not null then 'calls'
                when s.handler is not null then 'handler'
                else 'type'
            end as kind,
            coalesce(s.calls, s.invocations * s.running_mean, s.attempts) as weight
        from queues.stats s
    )
    select jsonb_build_object(
        'since', (select errand.epoch(min(s.stats_since)) from stats s),
        'handler_time', (select sum(s.weight) from stats s where s.kind = 'handler'),
        'rows', coalesce(
            (
                select jsonb_agg(to_jsonb(r) - 'stats_since' order by r.kind, r.place)
                from (
                    select s.*, row_number() over (partition by s.kind order by s.weight desc nulls last, s.task_type) as place
                    from stats s
                ) r
                where r.place <= 40
            ),
            '[]'
        )
    );
$$;

create function errand.report_providers()
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object('rows', coalesce(jsonb_agg(to_jsonb(p) order by p.name), '[]'))
    from (
        select
            s.name,
            s.interface,
            s.state,
            s.in_flight,
            s.queued,
            errand.epoch(coalesce(s.paused_until, s.breaker_until, s.next_request_at)) as until,
            s.pause_reason,
            s.paused_by,
            left(s.paused_why, 300) as paused_why,
            s.breaker,
            s.consecutive_failures,
            s.last_status,
            errand.epoch(s.last_failure_at) as last_failure_at,
            p.requests_per_second,
            p.burst,
            p.max_in_flight,
            p.breaker_threshold
        from queues.provider_status s
        join only queues.provider p on p.name = s.name
        order by s.in_flight desc nulls last, s.queued desc nulls last, s.name
        limit 40
    ) p;
$$;

-- Tasks that run, and the slowest among the newest tasks: an index finds these, the table is not read.
create function errand.report_tasks(_from timestamptz, _to timestamptz)
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    with newest as materialized (
        select t.task_id, t.task_type, t.final_status, t.dequeued_at, t.finished_at, t.queue_key
        from only queues.task t
        order by t.task_id desc
        limit 10000
    )
    select jsonb_build_object(
        'number_running', (select count(*) from queues.running),
        'running', coalesce(
            (
                select jsonb_agg(to_jsonb(r) || jsonb_build_object('since', errand.epoch(r.since)) order by r.since, r.task_id)
                from (
                    select w.task_id, w.task_type, w.runs_in, w.handler, w.provider, w.since, w.pid, left(w.queue_key, 200) as queue_key
                    from queues.running w
                    order by w.since, w.task_id
                    limit 20
                ) r
            ),
            '[]'
        ),
        'examined', (select count(*) from newest),
        'ended', coalesce(
            (
                select jsonb_agg(to_jsonb(e) order by e.seconds desc, e.task_id)
                from (
                    select
                        n.task_id,
                        n.task_type,
                        n.final_status as status,
                        left(n.queue_key, 200) as queue_key,
                        errand.epoch(n.finished_at) as finished_at,
                        extract(epoch from n.finished_at - n.dequeued_at)::double precision as seconds
                    from newest n
                    where n.finished_at >= _from
                        and n.finished_at <= _to
                        and n.dequeued_at is not null
                    order by n.finished_at - n.dequeued_at desc, n.task_id
                    limit 15
                ) e
            ),
            '[]'
        )
    );
$$;

create function errand.report_waiting()
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    with waiting as materialized (
        select w.task_type, w.reason, w.tasks, w.oldest, w.until, w.hint
        from queues.waiting w
    )
    select jsonb_build_object(
        'tasks', (select coalesce(sum(w.tasks), 0) from waiting w),
        'scheduled', (select coalesce(sum(w.tasks), 0) from waiting w where w.reason = 'scheduled'),
        'rows', coalesce(
            (
                select jsonb_agg(to_jsonb(r) order by r.tasks desc, r.task_type, r.reason)
                from (
                    select
                        w.task_type,
                        w.reason,
                        w.tasks,
                        errand.epoch(w.oldest) as oldest,
                        errand.epoch(w.until) as until,
                        left(w.hint, 300) as hint
                    from waiting w
                    order by w.tasks desc, w.task_type, w.reason
                    limit 40
                ) r
            ),
            '[]'
        )
    );
$$;

-- The queue keys with the most unfinished tasks. At most 200,000 tasks are read.
create function errand.report_keys()
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    with keyed as materialized (
        select t.task_type, t.queue_key, t.scheduled_at
        from only queues.task t
        where t.finished_at is null
            and t.queue_key is not null
        limit 200000
    )
    select jsonb_build_object(
        'examined', (select count(*) from keyed),
        'rows', coalesce(jsonb_agg(to_jsonb(k) order by k.tasks desc, k.task_type, k.queue_key), '[]')
    )
    from (
        select
            g.task_type,
            left(g.queue_key, 200) as queue_key,
            g.tasks,
            errand.epoch(g.oldest) as oldest,
            exists (
                select 1
                from only queues.paused_key p
                where p.task_type = g.task_type
                    and p.queue_key = g.queue_key
                    and (p.paused_until is null or p.paused_until > clock_timestamp())
            ) as is_paused
        from (
            select t.task_type, t.queue_key, count(*) as tasks, min(t.scheduled_at) as oldest
            from keyed t
            group by t.task_type, t.queue_key
            order by 3 desc, 1, 2
            limit 20
        ) g
    ) k;
$$;

-- How many tasks were enqueued within the last hour, and how many ended. Task ids rise with the time, so the first one of the
-- hour is found by halving.
create function errand.report_pace()
returns jsonb
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    _most constant integer := 300000;
    _since timestamptz := clock_timestamp() - interval '1 hour';
    _low bigint;
    _high bigint;
    _last bigint;
    _middle bigint;
    _found record;
    _enqueued bigint;
begin
    select min(t.task_id), max(t.task_id) + 1, max(t.task_id) into _low, _high, _last from only queues.task t;
    while _low < _high loop
        _middle := _low + (_high - _low) / 2;
        select t.task_id, t.enqueued_at into _found
        from only queues.task t
        where t.task_id >= _middle
        order by t.task_id
        limit 1;
        if _found.enqueued_at < _since then
            _low := _found.task_id + 1;
        else
            _high := _middle;
        end if;
    end loop;
    select count(*) into _enqueued
    from (
        select
        from only queues.task t
        where t.task_id >= _low
        limit _most
    ) r;
    return jsonb_build_object(
        'enqueued', case when _enqueued < _most then _enqueued else _last - _low + 1 end,
        'ended', (
            select coalesce(sum(h.succeeded + h.failed + h.cancelled), 0)
            from only queues.stats_history h
            where h.resolution = 'minute'
                and h.at >= date_trunc('minute', _since)
        )
    );
end;
$$;

-- Settings that differ from their defaults, and limits of task types. Of a secret, only whether it is set.
create function errand.report_settings()
returns jsonb
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
    with library as materialized (
        select l.secrets_set
        from errand.library_state() l
    )
    select jsonb_build_object(
        'concurrency', current_setting('pg_errand.concurrency', true),
        'settings', coalesce(
            (
                select jsonb_agg(to_jsonb(o) order by o.name)
                from (
                    select
                        s.name,
                        left(current_setting(s.name, true), 300) as value,
                        concat(left(s.boot_val, 300), s.unit) as default_value,
                        s.source
                    from library l
                    cross join pg_settings s
                    where s.name like 'pg\_errand.%'
                        and s.setting is distinct from s.boot_val
                        and s.name <> all (l.secrets_set)
                    union all
                    select n.name, null, '', null
                    from library l
                    cross join lateral unnest(l.secrets_set) as n (name)
                ) o
            ),
            '[]'
        ),
        'definitions', coalesce(
            (
                select jsonb_agg(to_jsonb(d) order by d.task_type)
                from (
                    select
                        t.task_type,
                        t.max_running,
                        t.starts_per_second,
                        t.burst,
                        t.max_running_per_key,
                        t.starts_per_second_per_key,
                        t.priority_ages_every::text as priority_ages_every,
                        t.keep_succeeded_for::text as keep_succeeded_for,
                        t.keep_failed_for::text as keep_failed_for,
                        t.redact_payload
                    from only queues.task_definition t
                    where num_nonnulls(
                            t.max_running,
                            t.starts_per_second,
                            t.burst,
                            t.starts_per_second_per_key,
                            t.priority_ages_every,
                            t.keep_succeeded_for,
                            t.keep_failed_for
                        ) > 0
                        or t.max_running_per_key <> 1
                        or t.redact_payload
                    order by t.task_type
                    limit 60
                ) d
            ),
            '[]'
        )
    );
$$;

-- The facts that contain no message of a task, read with the privileges of the owner. A section that cannot be read has an
-- error instead. It cannot be called by name without USAGE on the schema.
create function errand.report_facts(_from timestamptz, _to timestamptz)
returns jsonb
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set jit = off
set lock_timeout = '2s'
set client_min_messages = warning
as $$
declare
    _section text;
    _fact jsonb;
    _facts jsonb := '{}';
begin
    if _from is null or _to is null or not isfinite(_from) or not isfinite(_to)
        or _to - _from not between '1 minute' and '366 days'
    then
        raise exception 'the span of a report has to be between a minute and 366 days'
            using errcode = 'invalid_parameter_value',
                  hint = 'Give its beginning and its end, such as: SELECT queues.report(now() - interval ''7 days'', now());';
    end if;
    foreach _section in array array[
        'head', 'problems', 'history', 'stats', 'providers', 'tasks', 'waiting', 'keys', 'pace', 'settings'
    ] loop
        begin
            _fact := case _section
                when 'head' then errand.report_head(_from, _to)
                when 'problems' then errand.report_problems()
                when 'history' then errand.report_history(_from, _to)
                when 'stats' then errand.report_stats()
                when 'providers' then errand.report_providers()
                when 'tasks' then errand.report_tasks(_from, _to)
                when 'waiting' then errand.report_waiting()
                when 'keys' then errand.report_keys()
                when 'pace' then errand.report_pace()
                when 'settings' then errand.report_settings()
            end;
        exception when others then
            _fact := jsonb_build_object('error', sqlerrm);
        end;
        _facts := _facts || jsonb_build_object(_section, _fact);
    end loop;
    return _facts;
end;
$$;

-- The failures of the span by the shape of their message, for those who may read queues.failure. The example is the latest one.
create function errand.report_failures(_from timestamptz, _to timestamptz)
returns jsonb
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set jit = off
set lock_timeout = '2s'
as $$
begin
    if not has_table_privilege('queues.failure', 'select') then
        return jsonb_build_object('error', 'Messages of tasks need SELECT on queues.failure, which a role of the kind operator has.');
    end if;
    return (
        with newest as materialized (
            select f.error_id, f.task_id, f.task_type, f.failed_at, f.sqlstate, left(f.message, 1000) as message, f.shape
            from queues.failure f
            where f.failed_at >= _from
                and f.failed_at <= _to
            order by f.failed_at desc
            limit 5000
        )
        select jsonb_build_object(
            'examined', (select count(*) from newest),
            'shapes', (select count(distinct n.shape) from newest n),
            'rows', coalesce(jsonb_agg(to_jsonb(r) order by r.failures desc, r.last_at desc), '[]')
        )
        from (
            select
                left(n.shape, 500) as shape,
                count(*) as failures,
                extract(epoch from min(n.failed_at))::float8 as first_at,
                extract(epoch from max(n.failed_at))::float8 as last_at,
                (array_agg(distinct n.task_type) filter (where n.task_type is not null))[1:5] as task_types,
                (array_agg(distinct n.sqlstate) filter (where n.sqlstate is not null))[1:5] as sqlstates,
                (array_agg(n.task_id order by n.error_id desc))[1] as task_id,
                (array_agg(n.message order by n.error_id desc))[1] as message
            from newest n
            group by n.shape
            order by 2 desc, 4 desc
            limit 25
        ) r
    );
exception when others then
    return jsonb_build_object('error', sqlerrm);
end;
$$;

-- The processes for whose locks workers wait, directly or behind other workers, as far as pg_stat_activity shows them to the
-- caller.
create function errand.report_locks()
returns jsonb
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        with recursive wait (worker, pid) as (
            select w.pid, b.pid
            from queues.worker w
            cross join lateral unnest(pg_blocking_pids(w.pid)) as b (pid)
            union
            select w.worker, b.pid
            from wait w
            cross join lateral unnest(pg_blocking_pids(w.pid)) as b (pid)
        )
        select jsonb_build_object('rows', coalesce(jsonb_agg(to_jsonb(l) order by l.workers desc, l.pid), '[]'))
        from (
            select
                w.pid,
                count(*) as workers,
                a.state,
                left(a.query, 300) as query,
                a.usename as role,
                extract(epoch from a.xact_start)::float8 as since,
                extract(epoch from a.state_change)::float8 as changed_at
            from wait w
            left join pg_stat_activity a on a.pid = w.pid
            where cardinality(pg_blocking_pids(w.pid)) = 0
            group by w.pid, a.state, a.query, a.usename, a.xact_start, a.state_change
            order by 2 desc, 1
            limit 5
        ) l
    );
exception when others then
    return jsonb_build_object('error', sqlerrm);
end;
$$;

-- The page that shows these facts.
create function errand.report_page(_facts jsonb)
returns text
immutable
strict
language c
as 'MODULE_PATHNAME', 'report_page_wrapper';

-- A page about a span of time, as HTML that needs nothing else. To save it: psql -Atc "select queues.report()" > report.html
create function queues.report(
    _from timestamptz default now() - interval '1 day',
    _to timestamptz default now()
)
returns text
language sql
volatile
return errand.report_page(
    errand.report_facts(_from, _to)
    operator(pg_catalog.||) pg_catalog.jsonb_build_object('failures', errand.report_failures(_from, _to), 'locks', errand.report_locks())
);

-- A text that fits into a column of a terminal: without control characters, at most _width characters.
create function errand.cell(_text text, _width integer)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
    select rpad(
        case
            when char_length(c.shown) > _width then left(c.shown, _width - 1) || '…'
            else c.shown
        end,
        _width
    )
    from (
        select regexp_replace(coalesce(_text, ''), '[[:cntrl:]]', '?', 'g')
    ) as c (shown);
$$;

-- How long ago a time was, in one unit: 12 s, 5 min, 3 h, 2 d. A time in the future counts as now.
create function errand.age_text(_since timestamptz, _now timestamptz)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
    select case
        when not isfinite(_since) then _since::text
        when s.seconds < 0 then '0 s'
        when s.seconds < 120 then floor(s.seconds) || ' s'
        when s.seconds < 7200 then floor(s.seconds / 60) || ' min'
        when s.seconds < 172800 then floor(s.seconds / 3600) || ' h'
        else floor(s.seconds / 86400) || ' d'
    end
    from (
        select extract(epoch from case when isfinite(_since) then _now - _since end)
    ) as s (seconds);
$$;

-- A text in lines of a terminal: without control characters, each of at most _width characters, broken at spaces if possible.
create function errand.wrapped(_text text, _width integer)
returns setof text
language plpgsql
immutable
rows 2
set search_path = pg_catalog, pg_temp
as $$
declare
    _rest text := regexp_replace(coalesce(_text, ''), '[[:cntrl:]]', '?', 'g');
    _space integer;
    _lines text[] := '{}';
begin
    while char_length(_rest) > _width loop
        _space := _width + 2 - strpos(reverse(substr(_rest, 1, _width + 1)), ' ');
        if _space > _width + 1 or _space < _width / 2 then
            _lines := _lines || substr(_rest, 1, _width);
            _rest := substr(_rest, _width + 1);
        else
            _lines := _lines || substr(_rest, 1, _space - 1);
            _rest := substr(_rest, _space + 1);
        end if;
    end loop;
    return query select unnest(_lines || _rest);
end;
$$;

-- A page about this database for a terminal, made for \watch 1: problems, what runs, what waits and why, providers that are in
-- use or not well, errors of the last hour by the shape of their message, with hints. Of each at most _lines; what is longer than
-- a line of 140 characters continues on the next ones.
create function queues.top(_lines integer default 10)
returns setof text
language sql
volatile
rows 40
security definer
set search_path = pg_catalog, pg_temp
as $$
    with moment as materialized (
        select clock_timestamp() as now
    ),
    waiting as materialized (
        select w.task_type, w.reason, w.tasks, w.oldest, w.until, w.hint
        from queues.waiting w
    ),
    line (section, place, text, note) as (
        select
            1,
            0::bigint,
            format(
                '%s  %s  workers: %s (%s busy)  waiting: %s  last minute: %s tasks/s, %s failed/s',
                current_database(),
                to_char(m.now, 'HH24:MI:SS'),
                w.workers,
                w.busy,
                (select coalesce(sum(q.tasks), 0) from waiting q),
                round(coalesce((t.succeeded + t.failed + t.cancelled) / nullif(t.seconds, 0), 0)::numeric, 1),
                round(coalesce(t.failed / nullif(t.seconds, 0), 0)::numeric, 1)
            ),
            null
        from moment m
        cross join (
            select count(*) as workers, count(*) filter (where state = 'busy') as busy
            from queues.worker
        ) w
        left join queues.throughput('1 minute') t on t.task_type is null
        union all
        select
            2,
            row_number() over (order by h.severity, h.problem),
            format('! %s: %s', h.severity, h.explanation),
            h.hint
        from queues.health h
        union all
        select
            3,
            row_number() over (order by r.since nulls last, r.task_id),
            concat_ws(
                '  ',
                errand.cell(r.task_id::text, 12),
                errand.cell(r.task_type, 20),
                errand.cell(coalesce(r.handler, r.provider), 36),
                errand.cell(r.runs_in, 8),
                errand.cell(r.pid::text, 8),
                errand.age_text(r.since, m.now)
            ),
            nullif(
                concat_ws(
                    '; ',
                    'waits for a lock of process ' || array_to_string(r.blocked_by, ', ') || format(' (%s)', r.waits_for),
                    'leased until ' || to_char(r.until, 'YYYY-MM-DD HH24:MI:SS'),
                    'queue key ' || left(r.queue_key, 100)
                ),
                ''
            )
        from queues.running r
        cross join moment m
        union all
        select
            4,
            row_number() over (order by q.tasks desc, q.task_type, q.reason),
            concat_ws(
                '  ',
                errand.cell(q.tasks::text, 12),
                errand.cell(q.task_type, 20),
                errand.cell(q.reason, 36),
                errand.cell(to_char(q.until, 'MM-DD HH24:MI:SS'), 18),
                errand.age_text(q.oldest, m.now)
            ),
            q.hint
        from waiting q
        cross join moment m
        union all
        select
            5,
            row_number() over (order by p.name),
            concat_ws(
                '  ',
                errand.cell(p.in_flight::text, 12),
                errand.cell(p.name, 20),
                errand.cell(p.state, 36),
                errand.cell(p.queued::text, 18),
                to_char(coalesce(p.paused_until, p.breaker_until, p.next_request_at), 'HH24:MI:SS')
            ),
            null
        from queues.provider_status p
        where p.state <> 'ok'
            or p.in_flight > 0
        union all
        select
            6,
            row_number() over (order by f.failures desc, f.shape),
            concat_ws(
                '  ',
                errand.cell(f.failures::text, 12),
                errand.cell(array_to_string(f.task_types, ', '), 20),
                errand.cell(to_char(f.last_at, 'HH24:MI:SS'), 8),
                left(f.shape, 400)
            ),
            null
        from queues.failures('1 hour') f
    ),
    heading (section, text) as (
        values
            (3, concat_ws('  ', rpad('RUNNING', 12), rpad('type', 20), rpad('handler or provider', 36), rpad('in', 8), rpad('pid', 8), 'for')),
            (4, concat_ws('  ', rpad('WAITING', 12), rpad('type', 20), rpad('reason', 36), rpad('until', 18), 'oldest')),
            (5, concat_ws('  ', rpad('IN FLIGHT', 12), rpad('provider', 20), rpad('state', 36), rpad('queued', 18), 'until')),
            (6, concat_ws('  ', rpad('ERRORS, 1 h', 12), rpad('types', 20), rpad('last', 8), 'shape of the message'))
    )
    select o.text
    from (
        select
            l.section,
            l.place,
            p.part,
            case when p.part > 1 then repeat(' ', 14) else '' end || rtrim(p.text)
        from line l
        -- the lines of the note after those of the text
        cross join lateral (
            select w.part, w.text
            from errand.wrapped(l.text, 126) with ordinality w (text, part)
            union all
            select 1000 + w.part, w.text
            from errand.wrapped(l.note, 126) with ordinality w (text, part)
            where l.note is not null
        ) p
        where l.place <= greatest(_lines, 1)
        union all
        select l.section, max(l.place), 0, format('… %s more', max(l.place) - greatest(_lines, 1))
        from line l
        group by l.section
        having max(l.place) > greatest(_lines, 1)
        union all
        select h.section, -1, 0, ''
        from heading h
        where h.section in (select l.section from line l)
        union all
        select h.section, 0, 0, h.text
        from heading h
        where h.section in (select l.section from line l)
    ) o (section, place, part, text)
    order by o.section, o.place, o.part;
$$;

-- The problems that queues.health can have, and their severity, so that a metric can be 0 where all is well.
create view errand.known_problem (problem, severity) as
select p.problem, s.severity
from (
    values
        (
            'error',
            '{not_preloaded,version_mismatch,launcher_starting,not_served,too_many_databases,role_missing,role_lacks_login,
              role_lacks_connect,no_connections,read_only,quiesced,paused,workers_failing,max_workers,no_process,
              definition_unusable,breaker_open,secret_missing,handlers_blocked}'::text[]
        ),
        (
            'warning',
            '{database_paused,type_paused,provider_paused_by_operator,breaker_open,secret_missing,role_lacks_rights,
              unadopted_tasks,retention_behind,clock_set_back,setting_not_applied,too_few_workers,too_few_processes,
              autovacuum_off,handlers_blocked}'
        )
) as s (severity, problems)
cross join lateral unnest(s.problems) as p (problem);

create view errand.database_sample as
select
    'pg_errand_info' as metric,
    jsonb_build_object('version', e.extversion, 'server_version', current_setting('server_version')) as labels,
    1::double precision as value
from pg_extension e
where e.extname = 'pg_errand'
union all
select 'pg_errand_is_standby', '{}', pg_is_in_recovery()::integer
union all
select 'pg_errand_workers', jsonb_build_object('state', s.state), count(w.pid)
from unnest('{busy,idle}'::text[]) as s (state)
left join queues.worker w on w.state = s.state
where not pg_is_in_recovery()
group by s.state
union all
select 'pg_errand_concurrency', '{}', current_setting('pg_errand.concurrency', true)::integer
where not pg_is_in_recovery()
union all
select
    'pg_errand_problem',
    jsonb_build_object('problem', p.problem, 'severity', p.severity),
    max(p.value)
from (
    select k.problem, k.severity, 0 as value
    from errand.known_problem k
    union all
    select h.problem, h.severity, 1
    from queues.health h
) p
group by p.problem, p.severity
union all
select 'pg_errand_database_paused', '{}', count(*)
from only queues.paused p
where p.task_type is null
    and p.provider is null
    and (p.paused_until is null or p.paused_until > clock_timestamp())
union all
select 'pg_errand_type_paused', jsonb_build_object('task_type', p.task_type), 1
from only queues.paused p
where p.task_type is not null
    and (p.paused_until is null or p.paused_until > clock_timestamp())
union all
select 'pg_errand_paused_keys', jsonb_build_object('task_type', p.task_type), count(*)
from only queues.paused_key p
where p.paused_until is null
    or p.paused_until > clock_timestamp()
group by p.task_type
union all
select
    'pg_errand_retention_overdue_seconds',
    '{}',
    coalesce((select greatest(extract(epoch from o.overdue), 0) from errand.most_overdue() o), 0)
union all
select 'pg_errand_table_bytes', jsonb_build_object('table', c.name), pg_total_relation_size('queues.' || c.name)
from unnest('{task,error,call,stats_history}'::text[]) as c (name)
union all
select c.metric, '{}', c.value
from queues.stats_info i
cross join lateral (
    values
        ('pg_errand_stats_entries', i.entries::bigint),
        ('pg_errand_stats_max_entries', i.max_entries),
        ('pg_errand_stats_replaced_total', i.replaced),
        ('pg_errand_stats_uncounted_total', i.uncounted)
) as c (metric, value);

-- What the statistics have counted.
create view errand.counter_sample as
with stats as materialized (
    select s.*
    from queues.stats s
)
select c.metric, jsonb_build_object('task_type', s.task_type) || c.labels as labels, c.value::double precision as value
from stats s
cross join lateral (
    values
        ('pg_errand_tasks_total', '{"status": "succeeded"}'::jsonb, s.succeeded),
        ('pg_errand_tasks_total', '{"status": "failed"}', s.failed),
        ('pg_errand_tasks_total', '{"status": "cancelled"}', s.cancelled),
        ('pg_errand_attempts_total', '{}', s.attempts),
        ('pg_errand_repeated_attempts_total', '{}', s.repeated),
        ('pg_errand_errors_total', '{}', s.errors)
) as c (metric, labels, value)
where s.handler is null
    and s.provider is null
union all
select
    'pg_errand_handler_errors_total',
    jsonb_build_object('task_type', s.task_type, 'handler', s.handler, 'invoked_as', s.invoked_as),
    s.errors
from stats s
where s.handler is not null
union all
select
    c.metric,
    jsonb_build_object('task_type', s.task_type, 'provider', s.provider) || c.labels,
    c.value
from stats s
cross join lateral (
    values
        ('pg_errand_calls_total', '{"response": "2xx"}'::jsonb, s.status_2xx),
        ('pg_errand_calls_total', '{"response": "3xx"}', s.status_3xx),
        ('pg_errand_calls_total', '{"response": "4xx"}', s.status_4xx),
        ('pg_errand_calls_total', '{"response": "5xx"}', s.status_5xx),
        ('pg_errand_calls_total', '{"response": "none"}', s.no_response),
        ('pg_errand_failed_calls_total', '{}', s.failed_calls),
        ('pg_errand_deferred_calls_total', '{}', s.deferred)
) as c (metric, labels, value)
where s.provider is not null;

-- The histograms of the statistics, in seconds. Of their buckets the ones from 1 ms to 72 minutes are shown, each four times as
-- long as the one before it.
create view errand.time_sample as
with bucket as materialized (
    select
        case when b.handler is not null then 'pg_errand_handler_seconds' else format('pg_errand_%s_seconds', b.measured) end as metric,
        jsonb_strip_nulls(
            jsonb_build_object(
                'task_type', b.task_type,
                'handler', b.handler,
                'invoked_as', b.invoked_as,
                'provider', b.provider
            )
        ) as labels,
        b.le,
        b.count,
        b.sum
    from queues.stats_buckets b
    where b.le between 1 and 4294968
        or b.le = 'infinity'
)
select
    b.metric,
    '_bucket' as suffix,
    b.labels || jsonb_build_object(
        'le', case when b.le = 'infinity' then '+Inf' else trim_scale(b.le::numeric / 1000)::text end
    ) as labels,
    b.count::double precision as value
from bucket b
union all
select b.metric, c.suffix, b.labels, c.value
from bucket b
cross join lateral (
    values
        ('_sum', b.sum / 1000),
        ('_count', b.count::double precision)
) as c (suffix, value)
where b.le = 'infinity';

-- What waits and what runs. The age is that of queues.oldest_ready.
create view errand.queue_sample as
with waiting as materialized (
    select w.task_type, w.class, w.reason, w.tasks, w.oldest
    from errand.waiting_reason w
)
select
    'pg_errand_waiting_tasks' as metric,
    jsonb_build_object('task_type', w.task_type, 'reason', w.reason) as labels,
    sum(w.tasks)::double precision as value
from waiting w
group by w.task_type, w.reason
union all
select
    'pg_errand_oldest_ready_age_seconds',
    jsonb_build_object('task_type', w.task_type),
    greatest(extract(epoch from clock_timestamp() - min(w.oldest)), 0)
from waiting w
where w.class in ('ready', 'key_ready')
    and isfinite(w.oldest)
group by w.task_type
union all
select
    'pg_errand_running_tasks',
    jsonb_build_object('task_type', r.task_type, 'runs_in', r.runs_in),
    count(*)
from queues.running r
group by r.task_type, r.runs_in;

-- The providers. Where no worker can run, their state is not known, unless an operator has paused them.
create view errand.provider_sample as
with provider as materialized (
    select p.*
    from queues.provider_status p
)
select
    'pg_errand_provider_state' as metric,
    jsonb_build_object('provider', p.name, 'state', s.state) as labels,
    (p.state = s.state)::integer::double precision as value
from provider p
cross join lateral unnest('{ok,paused,secret_missing,broken,probing,full,rate_limited}'::text[]) as s (state)
union all
select c.metric, jsonb_build_object('provider', p.name) || c.labels, c.value
from provider p
cross join lateral (
    values
        ('pg_errand_calls_in_flight', '{}'::jsonb, p.in_flight::double precision),
        ('pg_errand_calls_queued', '{}', p.queued),
        ('pg_errand_provider_consecutive_failures', '{}', p.consecutive_failures),
        (
            'pg_errand_provider_until_timestamp_seconds',
            '{"state": "paused"}',
            -- A pause without an end ends with a command.
            case when p.state = 'paused' then coalesce(extract(epoch from p.paused_until), 'infinity') end
        ),
        (
            'pg_errand_provider_until_timestamp_seconds',
            '{"state": "rate_limited"}',
            extract(epoch from p.next_request_at)
        ),
        (
            'pg_errand_provider_until_timestamp_seconds',
            '{"state": "broken"}',
            extract(epoch from p.breaker_until)
        )
) as c (metric, labels, value);

-- Every metric: its name (for histograms, without the suffix), its type, and what it is. Names follow the rules of Prometheus.
create view errand.metric (name, type, help) as
values
    ('pg_errand_info', 'gauge', 'Versions of the extension and of the server, as labels; always 1.'),
    ('pg_errand_is_standby', 'gauge', 'Whether the server is a standby, on which no task runs.'),
    ('pg_errand_tasks_total', 'counter', 'Tasks that have ended.'),
    ('pg_errand_attempts_total', 'counter', 'Starts of tasks.'),
    ('pg_errand_repeated_attempts_total', 'counter', 'Attempts that ended with a serialization failure or a deadlock.'),
    ('pg_errand_errors_total', 'counter', 'Errors of tasks.'),
    ('pg_errand_waiting_seconds', 'histogram', 'Time from when a task may start to its first start.'),
    ('pg_errand_running_seconds', 'histogram', 'Time from the start of the last attempt of a task to its end.'),
    ('pg_errand_handler_seconds', 'histogram', 'Duration of one invocation of a handler.'),
    ('pg_errand_handler_errors_total', 'counter', 'Invocations of a handler that raised an error.'),
    ('pg_errand_provider_seconds', 'histogram', 'Time from sending a request to its complete response.'),
    ('pg_errand_calls_total', 'counter', 'Requests to providers, by the class of the HTTP status of the response.'),
    ('pg_errand_failed_calls_total', 'counter', 'Calls whose result is a failure.'),
    ('pg_errand_deferred_calls_total', 'counter', 'Calls that were sent again because the provider asked to wait.'),
    ('pg_errand_waiting_tasks', 'gauge', 'Tasks that wait, by the reason that queues.explain returns.'),
    ('pg_errand_oldest_ready_age_seconds', 'gauge', 'How long the oldest ready task has been due.'),
    ('pg_errand_running_tasks', 'gauge', 'Tasks that run in a worker, between the steps of a call, or outside.'),
    ('pg_errand_workers', 'gauge', 'Live worker processes of the database.'),
    ('pg_errand_concurrency', 'gauge', 'How many workers the database may have: pg_errand.concurrency.'),
    ('pg_errand_calls_in_flight', 'gauge', 'Requests that were sent and not answered.'),
    ('pg_errand_calls_queued', 'gauge', 'Stored requests that have not been sent.'),
    ('pg_errand_provider_state', 'gauge', 'Whether the provider is in this state.'),
    ('pg_errand_provider_until_timestamp_seconds', 'gauge', 'When the pause, the rate limit or the circuit breaker lets requests pass again.'),
    ('pg_errand_provider_consecutive_failures', 'gauge', 'Failed calls since the last one that succeeded.'),
    ('pg_errand_database_paused', 'gauge', 'Whether an operator has paused the database.'),
    ('pg_errand_type_paused', 'gauge', 'Whether an operator has paused the task type; only paused types.'),
    ('pg_errand_paused_keys', 'gauge', 'Queue keys that are paused.'),
    ('pg_errand_problem', 'gauge', 'Whether queues.health has this problem.'),
    ('pg_errand_retention_overdue_seconds', 'gauge', 'How long the oldest finished task should have been removed.'),
    ('pg_errand_table_bytes', 'gauge', 'Size of a table of the queue with its indexes.'),
    ('pg_errand_stats_entries', 'gauge', 'Used entries of the statistics in shared memory, of all databases.'),
    ('pg_errand_stats_max_entries', 'gauge', 'Entries that the statistics in shared memory have.'),
    ('pg_errand_stats_replaced_total', 'counter', 'Entries of the statistics that were given to another key.'),
    ('pg_errand_stats_uncounted_total', 'counter', 'Events that were not counted because all entries were in use.');

-- The values of the metrics, read with the privileges of the owner: numbers, names and reasons, no payload and no message of a
-- task. The suffix is that of histograms, else ''. Without JIT, which takes longer than the query.
create function errand.samples(
    out metric text,
    out suffix text,
    out labels jsonb,
    out value double precision
)
returns setof record
volatile
rows 500
language sql
security definer
set search_path = pg_catalog, pg_temp
set jit = off
set client_min_messages = warning
as $$
    -- Statistics show long names shortened, so that two may look the same.
    select s.metric, s.suffix, s.labels, sum(s.value)
    from (
        select c.metric, '' as suffix, c.labels, c.value
        from errand.counter_sample c
        union all
        select t.metric, t.suffix, t.labels, t.value
        from errand.time_sample t
    ) s
    group by s.metric, s.suffix, s.labels
    union all
    select q.metric, '', q.labels, q.value
    from errand.queue_sample q
    union all
    select p.metric, '', p.labels, p.value
    from errand.provider_sample p
    union all
    select d.metric, '', d.labels, d.value
    from errand.database_sample d;
$$;

-- The metrics of this database, in the long format: a row for each sample.
create view queues.metrics as
select
    s.metric || s.suffix as name,
    m.type,
    m.help,
    jsonb_build_object('datname', current_database()) || s.labels as labels,
    s.value,
    s.metric as family
from errand.samples() s
join errand.metric m on m.name = s.metric
where s.value is not null;

-- A number as the exposition format has it.
create function errand.metric_number(_value double precision)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
    select case _value
        when 'infinity' then '+Inf'
        when '-infinity' then '-Inf'
        else _value::text
    end;
$$;

-- The labels of a sample in the exposition format, in the order of their names; le is the last one.
create function errand.metric_labels(_labels jsonb)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(
        '{' || string_agg(
            format(
                '%s="%s"',
                l.key,
                replace(replace(replace(l.value, E'\\', E'\\\\'), '"', E'\\"'), E'\n', E'\\n')
            ),
            ',' order by l.key = 'le', l.key
        ) || '}',
        ''
    )
    from jsonb_each_text(_labels) l;
$$;

-- The same metrics in the text format that Prometheus reads, for example in a file of node_exporter's textfile collector.
create function queues.metrics_text()
returns text
language sql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
    with sample as materialized (
        select s.family, s.type, s.help, s.name, s.labels, s.value
        from queues.metrics s
    )
    select coalesce(string_agg(f.text, '' order by f.family), '')
    from (
        select
            s.family,
            format(E'# HELP %s %s\n# TYPE %s %s\n', s.family, s.help, s.family, s.type)
                || string_agg(
                    format(E'%s%s %s\n', s.name, errand.metric_labels(s.labels), errand.metric_number(s.value)),
                    '' order by s.labels - 'le', s.name, (s.labels ->> 'le')::double precision
                ) as text
        from sample s
        group by s.family, s.type, s.help
    ) f;
$$;

comment on column queues.task.retry_of is 'The task of which this one is the retry, see queues.retry';
comment on column queues.task.retried_as is 'The retry of this task';
comment on column queues.task.idempotency_key is 'The key for the call of a retry, if it is not known what the call of the original has done';
comment on column queues.task_definition.keep_succeeded_for is 'For how long tasks that have succeeded are kept; null: pg_errand.retention, 0: for ever';
comment on column queues.task_definition.keep_failed_for is 'For how long tasks that have failed or were cancelled, and errors, are kept; null: pg_errand.retention, 0: for ever';
comment on column queues.task_definition.redact_payload is 'Whether a task that has succeeded loses its payload, except for the names of its handlers, and its response';
comment on table queues.paused is 'Pauses of the database, of task types and of providers, see queues.pause and queues.pause_provider';
comment on column queues.paused.task_type is 'The task type that is paused';
comment on column queues.paused.provider is 'The provider that is paused; if there is no task type, either, the database is';
comment on column queues.paused.paused_until is 'When the pause ends; null: with queues.resume or queues.resume_provider';
comment on view queues.stats is 'Statistics by task type, handler and provider, of this server (on a standby: of none of the primary''s tasks); times in milliseconds';
comment on view queues.stats_buckets is 'Histograms of the times in queues.stats: how many took at most le milliseconds, and the sum of all';
comment on view queues.stats_info is 'How full the table of statistics in shared memory is, for all databases of the server';
comment on table queues.stats_history is 'Statistics of each minute of a day and each hour of 90 days in which something ended; times in milliseconds';
comment on view errand.active_task is 'Tasks that workers run or hold the calls of, from shared memory';
comment on view queues.role_privilege is 'Privileges of each kind of role, see queues.grant_role, and the roles to which they were granted';
comment on view queues.health is 'What keeps tasks from running: a row per problem, none if the machinery is well; see also queues.waiting and queues.failures()';
comment on view queues.provider_status is 'Providers of this database: what is in flight, waits, is paused, limited or broken, and until when';
comment on column queues.provider_status.state is 'ok, paused, secret_missing, broken, probing, full or rate_limited; null where no worker can run';
comment on column queues.provider_status.queued is 'Stored requests that have not been sent';
comment on column queues.provider_status.pause_reason is 'operator (queues.pause_provider) or retry_after (the provider has asked for it)';
comment on column queues.provider_status.next_request_at is 'When the rate limit admits the next request; null: now';
comment on column queues.provider_status.breaker is 'closed, open or half_open; null: the provider has no circuit breaker';
comment on column queues.provider_status.last_status is 'The HTTP status of the last failure; null: there was no response';
comment on view queues.running is 'Tasks that run: in workers, between the steps of calls, and outside';
comment on view errand.waiting_reason is 'Groups of waiting tasks, and why they wait';
comment on view queues.waiting is 'Tasks that wait, by type and reason';
comment on view queues.oldest_ready is 'The oldest ready task of each type';
comment on view queues.failure is 'Errors with the shape of their message, which errors of the same cause have in common';
comment on view errand.known_problem is 'The problems that queues.health can have';
comment on view errand.database_sample is 'Metrics of the database as a whole';
comment on view errand.counter_sample is 'Counters of queues.metrics, from the statistics';
comment on view errand.time_sample is 'Histograms of queues.metrics, from the statistics';
comment on view errand.queue_sample is 'Metrics of waiting and running tasks';
comment on view errand.provider_sample is 'Metrics of providers';
comment on view errand.metric is 'The metrics of queues.metrics, with type and help';
comment on view queues.metrics is 'Metrics of this database for Prometheus: a row for each sample';
comment on column queues.metrics.name is 'The name of the sample; samples of histograms end with _bucket, _sum or _count';
comment on column queues.metrics.type is 'counter, gauge or histogram';
comment on column queues.metrics.family is 'The name of the metric, without the suffix of histograms';
comment on function queues.cancel_where(text, interval, text, integer) is 'Cancels waiting tasks of a type, age or queue key; returns their number, 0 when none is left';
comment on function queues.retry(bigint) is 'Runs a failed or cancelled task again, as a new task; returns its id';
comment on function queues.retry_failed(text, timestamptz, text, integer, boolean) is 'Runs failed tasks again that have no retry yet, retries only with _retries; returns their number, 0 when none is left';
comment on function queues.run_next(bigint) is 'Lets a waiting task start before all others';
comment on function queues.reschedule(bigint, timestamptz) is 'Schedules a waiting task at another time';
comment on function queues.end_lease(bigint) is 'Ends the lease of a task whose worker outside is gone';
comment on function queues.purge(interval, text, integer) is 'Removes tasks that ended that long ago, and their errors; returns their number, 0 when none is left';
comment on function queues.top(integer) is 'A page about this database for a terminal: workers, what runs, what waits, what fails';
comment on function queues.last_ended(text, integer) is 'The last tasks of a type that ended';
comment on function queues.failures(interval) is 'The errors of the last time, by the shape of their message';
comment on function queues.pause(text, timestamptz, text) is 'Pauses a task type, or without one the database: no task starts; false if it was paused';
comment on function queues.resume(text) is 'Ends the pause of a task type, or without one of the database; false if it was not paused';
comment on function queues.pause_provider(text, timestamptz, text) is 'Pauses a provider: it gets no request; false if it was paused';
comment on function queues.resume_provider(text) is 'Ends the pause of a provider; false if it was not paused';
comment on function queues.drain(interval, text) is 'Pauses the database at once and waits until nothing of it runs; false if something still does';
comment on function queues.grant_role(regrole, text) is 'Grants a role what one of this kind needs: enqueuer, operator, monitor, outside_worker';
comment on function queues.revoke_role(regrole, text) is 'Reverses queues.grant_role';
comment on function errand.paused_after_change() is 'Has all sessions and workers read the pauses again';
comment on function errand.provider_state() is 'The state of providers in shared memory';
comment on function errand.paused_types(text[]) is 'Those of some task types that are paused, or whose provider or database is';
comment on function errand.tell(text) is 'Writes a message to the server log';
comment on function errand.paused_name(text, text) is 'What a row of queues.paused pauses, for messages';
comment on function errand.check_pausable(text, text) is 'Raises an error unless there is such a task type or provider';
comment on function errand.is_paused(text, text) is 'Whether a task type, a provider or the database is paused';
comment on function errand.begin_pause(text, text, timestamptz, text) is 'Pauses a task type, a provider or the database';
comment on function errand.end_pause(text, text) is 'Ends the pause of a task type, a provider or the database';
comment on function errand.begin_drain() is 'Has the database start nothing until the transaction ends';
comment on function errand.left_to_drain() is 'The tasks, calls and leases of this database that have not ended';
comment on function errand.check_task_type(text) is 'Raises an error unless there is such a task type';
comment on function errand.wrapped(text, integer) is 'A text in lines of a terminal';
comment on function errand.cell(text, integer) is 'A text that fits into a column of a terminal';
comment on function errand.age_text(timestamptz, timestamptz) is 'How long ago a time was, in one unit';
comment on function errand.health() is 'The problems of queues.health';
comment on function errand.problems_of_workers(text) is 'What keeps the workers of this database from running';
comment on function errand.problems_of_locks() is 'Whether handlers wait for locks of other sessions';
comment on function errand.problems_of_definitions() is 'What is wrong with task types and providers';
comment on function errand.worker_role() is 'The role that the workers of this database connect as';
comment on function errand.missing_grants(text) is 'What a role of workers lacks: the statements that grant it';
comment on function errand.check_kept_for(text, text, interval) is 'Raises an error if the time for which finished tasks are kept is not valid';
comment on function errand.kept_for(interval, interval) is 'How long finished tasks are kept';
comment on function errand.redacted(jsonb) is 'What is left of a payload that is redacted';
comment on function errand.redact(bigint) is 'Redacts a task that has succeeded, if its type requires it';
comment on function errand.log_steering(text, text, bigint) is 'Logs a call of a function that steers tasks';
comment on function errand.check_selection(text, interval, integer) is 'Raises an error unless the arguments of an operation on many tasks are valid';
comment on function errand.cancel_locked(bigint[]) is 'Cancels waiting tasks that are locked';
comment on function errand.key_of_unknown_call(bigint) is 'The idempotency key of a call to which there was no response';
comment on function errand.enqueue_retry(queues.task) is 'Enqueues the retry of a task that is locked';
comment on function errand.refuse_retry(bigint) is 'Raises the error that says why a task cannot be retried';
comment on function errand.lock_task(bigint) is 'Locks the row of a task';
comment on function errand.lock_waiting(bigint) is 'Locks a task that waits';
comment on function errand.worker_waits() is 'What workers wait for while they run tasks';
comment on function errand.change_order(queues.task, timestamptz, smallint) is 'Changes when a task starts that is locked';
comment on function errand.change_role(regrole, text, boolean) is 'Grants the privileges of a kind of role, or revokes them';
comment on function errand.moment() is 'The time, once for a statement';
comment on function errand.narrows_support(internal) is 'Support function of errand.narrows';
comment on function errand.narrows(timestamptz, text, boolean, boolean, boolean) is 'Always true; tells the planner what a status means for the columns of a task';
comment on function errand.next_origin(bigint) is 'The first origin above another one that unfinished tasks have';
comment on function errand.unadopted() is 'Unadopted tasks by their origin';
comment on function errand.failure_shapes(timestamptz) is 'Errors since a time, by the shape of their message';
comment on function errand.message_shape(text) is 'What error messages of the same cause have in common';
comment on function errand.count_waiting() is 'The tasks that wait, by type and by what their rows say, but for those in a call';
comment on function errand.waiting_groups() is 'The tasks that wait, by type and by what their rows say';
comment on function errand.waiting() is 'The tasks that wait, by type and reason';
comment on function queues.throughput(interval) is 'How many tasks ended within a while, by task type and in all';
comment on function queues.stats_reset(text) is 'Begins the statistics of this database, or of a task type, again';
comment on function errand.count_task(bigint, text, text, integer, integer, timestamptz, timestamptz, boolean) is 'Has the commit count what was done with a task';
comment on function errand.stats() is 'What was counted by task type, handler and provider, from shared memory';
comment on function errand.stats_buckets() is 'The histograms of errand.stats()';
comment on function errand.stats_info() is 'How full the table of statistics in shared memory is';
comment on function errand.last_ended(text, boolean) is 'The last 32 tasks of a type that ended, or that failed';
comment on function errand.throughput(integer) is 'How many tasks ended in the last spans of 20 seconds, by task type';
comment on function queues.report(timestamptz, timestamptz) is 'A page about a span of time, as HTML that needs nothing else';
comment on function errand.report_page(jsonb) is 'The page that shows the facts of a report';
comment on function errand.report_facts(timestamptz, timestamptz) is 'The facts of queues.report that contain no message of a task';
comment on function errand.report_failures(timestamptz, timestamptz) is 'The failures of a span, for those who may read queues.failure';
comment on function errand.report_locks() is 'The processes for whose locks workers wait';
comment on function errand.library_state() is 'Whether the library is preloaded, its version, and which settings hold a secret';
comment on function errand.epoch(timestamptz) is 'Seconds since 1970; null for infinity';
comment on function errand.report_head(timestamptz, timestamptz) is 'Facts of queues.report: the server and the span';
comment on function errand.report_problems() is 'Facts of queues.report: what needs attention';
comment on function errand.report_history(timestamptz, timestamptz) is 'Facts of queues.report: what ended over time';
comment on function errand.report_stats() is 'Facts of queues.report: task types, handlers and providers';
comment on function errand.report_providers() is 'Facts of queues.report: the state and limits of providers';
comment on function errand.report_tasks(timestamptz, timestamptz) is 'Facts of queues.report: tasks that run, and slow ones';
comment on function errand.report_waiting() is 'Facts of queues.report: what waits and why';
comment on function errand.report_keys() is 'Facts of queues.report: queue keys with most unfinished tasks';
comment on function errand.report_pace() is 'Facts of queues.report: tasks enqueued and ended within the last hour';
comment on function errand.report_settings() is 'Facts of queues.report: settings that differ from their defaults, and limits';
comment on function queues.metrics_text() is 'The metrics of queues.metrics in the text format that Prometheus reads';
comment on function errand.samples() is 'The values of queues.metrics';
comment on function errand.metric_number(double precision) is 'A number in the text format that Prometheus reads';
comment on function errand.metric_labels(jsonb) is 'Labels in the text format that Prometheus reads';
comment on function errand.most_overdue() is 'The finished task that should have been removed longest ago';

-- New functions, views and tables have no privileges but those that are granted below, whatever ALTER DEFAULT PRIVILEGES
-- says.
do $$
declare
    _object text;
begin
    for _object in
        select distinct format(
            'revoke all on function %s from %s',
            p.oid::regprocedure, case when a.grantee = 0 then 'public' else a.grantee::regrole::text end
        )
        from pg_proc p
        cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        where a.grantee <> p.proowner
            and p.oid = any (array[
        'errand.check_task_type(text)',
        'errand.check_kept_for(text, text, interval)',
        'errand.kept_for(interval, interval)',
        'errand.redacted(jsonb)',
        'errand.redact(bigint)',
        'errand.paused_after_change()',
        'errand.paused_types(text[])',
        'errand.tell(text)',
        'errand.paused_name(text, text)',
        'errand.check_pausable(text, text)',
        'errand.is_paused(text, text)',
        'errand.begin_pause(text, text, timestamptz, text)',
        'errand.end_pause(text, text)',
        'queues.pause(text, timestamptz, text)',
        'queues.resume(text)',
        'queues.pause_provider(text, timestamptz, text)',
        'queues.resume_provider(text)',
        'errand.begin_drain()',
        'errand.left_to_drain()',
        'queues.drain(interval, text)',
        'errand.log_steering(text, text, bigint)',
        'errand.check_selection(text, interval, integer)',
        'errand.cancel_locked(bigint[])',
        'queues.cancel_where(text, interval, text, integer)',
        'errand.key_of_unknown_call(bigint)',
        'errand.enqueue_retry(queues.task)',
        'errand.refuse_retry(bigint)',
        'queues.retry(bigint)',
        'queues.retry_failed(text, timestamptz, text, integer, boolean)',
        'queues.purge(interval, text, integer)',
        'errand.lock_task(bigint)',
        'errand.lock_waiting(bigint)',
        'errand.change_order(queues.task, timestamptz, smallint)',
        'queues.run_next(bigint)',
        'queues.reschedule(bigint, timestamptz)',
        'queues.end_lease(bigint)',
        'errand.count_task(bigint, text, text, integer, integer, timestamptz, timestamptz, boolean)',
        'errand.stats()',
        'errand.stats_buckets()',
        'errand.stats_info()',
        'errand.last_ended(text, boolean)',
        'errand.throughput(integer)',
        'queues.throughput(interval)',
        'queues.stats_reset(text)',
        'errand.worker_waits()',
        'errand.moment()',
        'errand.narrows_support(internal)',
        'errand.narrows(timestamptz, text, boolean, boolean, boolean)',
        'errand.next_origin(bigint)',
        'errand.unadopted()',
        'errand.change_role(regrole, text, boolean)',
        'queues.grant_role(regrole, text)',
        'queues.revoke_role(regrole, text)',
        'errand.problems_of_workers(text)',
        'errand.problems_of_definitions()',
        'errand.worker_role()',
        'errand.missing_grants(text)',
        'errand.most_overdue()',
        'errand.problems_of_locks()',
        'errand.health()',
        'errand.provider_state()',
        'errand.message_shape(text)',
        'errand.count_waiting()',
        'errand.waiting_groups()',
        'errand.waiting()',
        'errand.failure_shapes(timestamptz)',
        'queues.failures(interval)',
        'queues.last_ended(text, integer)',
        'errand.library_state()',
        'errand.epoch(timestamptz)',
        'errand.report_head(timestamptz, timestamptz)',
        'errand.report_problems()',
        'errand.report_history(timestamptz, timestamptz)',
        'errand.report_stats()',
        'errand.report_providers()',
        'errand.report_tasks(timestamptz, timestamptz)',
        'errand.report_waiting()',
        'errand.report_keys()',
        'errand.report_pace()',
        'errand.report_settings()',
        'errand.report_facts(timestamptz, timestamptz)',
        'errand.report_failures(timestamptz, timestamptz)',
        'errand.report_locks()',
        'errand.report_page(jsonb)',
        'queues.report(timestamptz, timestamptz)',
        'errand.cell(text, integer)',
        'errand.age_text(timestamptz, timestamptz)',
        'errand.wrapped(text, integer)',
        'queues.top(integer)',
        'errand.samples()',
        'errand.metric_number(double precision)',
        'errand.metric_labels(jsonb)',
        'queues.metrics_text()'
            ]::regprocedure[])
        union all
        select distinct format(
            'revoke all on table %s from %s',
            c.oid::regclass, case when a.grantee = 0 then 'public' else a.grantee::regrole::text end
        )
        from pg_class c
        cross join lateral aclexplode(c.relacl) a
        where a.grantee <> c.relowner
            and c.oid = any (array[
        'queues.stats',
        'queues.stats_buckets',
        'queues.stats_info',
        'errand.active_task',
        'queues.role_privilege',
        'queues.health',
        'queues.provider_status',
        'queues.running',
        'errand.waiting_reason',
        'queues.waiting',
        'queues.oldest_ready',
        'queues.failure',
        'errand.known_problem',
        'errand.database_sample',
        'errand.counter_sample',
        'errand.time_sample',
        'errand.queue_sample',
        'errand.provider_sample',
        'errand.metric',
        'queues.metrics',
        'queues.paused',
        'queues.stats_history'
            ]::regclass[])
    loop
        execute _object;
    end loop;
end;
$$;

create trigger paused_after_change
    after insert or update or delete or truncate on queues.paused
    for each statement
    execute function errand.paused_after_change();
alter table queues.paused enable always trigger paused_after_change;

grant execute on function errand.provider_state() to public;
grant execute on function errand.worker_waits() to public;
grant execute on function errand.stats() to public;
grant execute on function errand.stats_buckets() to public;
grant execute on function errand.stats_info() to public;
grant execute on function errand.moment() to public;
grant execute on function errand.narrows(timestamptz, text, boolean, boolean, boolean) to public;
grant execute on function errand.message_shape(text) to public;
grant execute on function errand.waiting_groups() to public;
grant execute on function errand.waiting() to public;
grant execute on function errand.unadopted() to public;
grant execute on function errand.change_role(regrole, text, boolean) to public;
grant execute on function errand.health() to public;
grant execute on function errand.report_facts(timestamptz, timestamptz) to public;
grant execute on function errand.report_failures(timestamptz, timestamptz) to public;
grant execute on function errand.report_locks() to public;
grant execute on function errand.report_page(jsonb) to public;
grant execute on function errand.samples() to public;

-- Monitoring may read the views that contain neither payloads nor messages of tasks.
grant usage on schema queues to pg_monitor;
grant select on queues.health, queues.worker, queues.unadopted to pg_monitor;
grant select on queues.running, queues.waiting, queues.oldest_ready to pg_monitor;
grant select on queues.provider_status to pg_monitor;
grant select on queues.stats, queues.stats_buckets, queues.stats_info, queues.stats_history to pg_monitor;
grant execute on function queues.throughput(interval) to pg_monitor;
grant execute on function queues.report(timestamptz, timestamptz) to pg_monitor;
grant select on queues.metrics to pg_monitor;
grant execute on function queues.metrics_text() to pg_monitor;
