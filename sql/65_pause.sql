-- Pauses of the database, of task types and of providers. While one lasts, nothing new starts; what runs goes on to its end.

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

comment on table queues.paused is 'Pauses of the database, of task types and of providers, see queues.pause and queues.pause_provider';
comment on column queues.paused.task_type is 'The task type that is paused';
comment on column queues.paused.provider is 'The provider that is paused; if there is no task type, either, the database is';
comment on column queues.paused.paused_until is 'When the pause ends; null: with queues.resume or queues.resume_provider';

select pg_catalog.pg_extension_config_dump('queues.paused', '');

-- Lets all sessions and workers read the table again, also after a change by hand.
create function errand.paused_after_change()
returns trigger
language c
as 'MODULE_PATHNAME', 'paused_after_change_wrapper';

create trigger paused_after_change
    after insert or update or delete or truncate on queues.paused
    for each statement
    execute function errand.paused_after_change();
alter table queues.paused enable always trigger paused_after_change;

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
