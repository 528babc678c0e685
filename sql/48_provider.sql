-- Providers and task definitions. A change of a row takes effect in all sessions and workers when it commits.
create table queues.provider (
    name text primary key,
    -- how requests are sent: http, resend, smtp, twilio or simulated
    interface text not null default 'http',
    -- the URL to which the path of a request is appended; null: the setting of the interface, or none
    base_url text,
    -- how requests are authenticated: none, bearer, basic, header, query or webhook
    auth text not null default 'none',
    -- the name of the header, query parameter or user that goes with the secret
    auth_name text,
    -- the name of the secret, see pg_errand.secrets_dir
    secret text,
    -- the name of the secret that holds the client certificate and its key
    client_certificate text,
    headers jsonb not null default '{}',
    -- the time limit for a call; null: pg_errand.call_timeout
    timeout interval,
    -- templates and conditions for requests and responses, see docs/providers.md
    request jsonb,
    expect jsonb,
    answer jsonb,
    failure jsonb,
    -- the header for the idempotency key; null: Idempotency-Key, '': none
    idempotency_header text,
    -- how long the provider remembers an idempotency key; 0: an interrupted request is not sent again
    idempotency_key_ttl interval,
    -- limits for all workers together, see docs/providers.md
    requests_per_second double precision,
    burst integer,
    max_in_flight integer,
    -- the size of a batch, for interfaces that send batches (resend: up to 100); null: 1
    batch_size integer,
    -- how long a request may be deferred in total because the provider asks for it (Retry-After)
    max_wait interval not null default '1 hour',
    -- the number of consecutive failures that open the circuit breaker; null: never
    breaker_threshold integer,
    -- how long the circuit breaker stays open
    breaker_cooldown interval not null default '1 minute',
    -- the lane in which its tasks wait: lanes 1 to 14 have one provider each, all others share lane 15
    lane smallint not null default 0,
    -- whether a superuser has set base_url, which then may be in a private network
    trusted boolean not null default true,
    -- whether the row comes with the extension
    built_in boolean not null default false
);

comment on table queues.provider is 'Services to which tasks are sent';

-- A grantee is a role or public. Its text form is a name, but an OID is stored: so a grant follows a role that is
-- renamed, and does not pass to another role that takes the name. A name that does not exist is ignored with a warning,
-- so that a dump can be restored in a server that lacks the role.
create type queues.grantee;

create function errand.grantee_in(cstring)
returns queues.grantee
stable
strict
language c
as 'MODULE_PATHNAME', 'grantee_in_wrapper';

create function errand.grantee_out(queues.grantee)
returns cstring
stable
strict
language c
as 'MODULE_PATHNAME', 'grantee_out_wrapper';

create type queues.grantee (
    input = errand.grantee_in,
    output = errand.grantee_out,
    like = oid
);

comment on type queues.grantee is 'A role, or public: written as its name, stored as its OID';

-- These casts let queries compare granted_to with names, and set it to an array of names.
create cast (queues.grantee as text) with inout as implicit;
create cast (text as queues.grantee) with inout as assignment;

create table queues.task_definition (
    task_type text primary key,
    -- call: the task is sent to a provider; db_function: the payload names the function to run
    processor text not null default 'call',
    provider text,
    -- the setting that names the provider if the column provider is null
    provider_setting text,
    -- the roles that may enqueue tasks of this type; public: all that may execute queues.enqueue
    granted_to queues.grantee[] not null default '{}',
    built_in boolean not null default false,
    -- limits for all workers together, see docs/supervisors.md; null: none
    max_running integer,
    starts_per_second double precision,
    burst integer,
    -- limits for the tasks of each queue key
    max_running_per_key integer not null default 1,
    starts_per_second_per_key double precision,
    -- the priority of a task that waits rises by one for each such interval; null: never
    priority_ages_every interval,
    -- for how long finished tasks are kept: those that have succeeded, and those that have failed or were cancelled, with
    -- the errors of all of them; null: pg_errand.retention, 0: for ever
    keep_succeeded_for interval,
    keep_failed_for interval,
    -- whether a task that has succeeded loses its payload, except for the names of its handlers, and its response
    redact_payload boolean not null default false
);

comment on table queues.task_definition is 'Task types: how their tasks are processed, and who may enqueue them';
comment on column queues.task_definition.max_running is 'How many tasks of this type run at once, including those whose call is in flight; null: no limit';
comment on column queues.task_definition.starts_per_second is 'How many tasks of this type start per second; null: no limit';
comment on column queues.task_definition.max_running_per_key is 'How many tasks of this type and of one queue key run at once; 1: one after the other, in order';
comment on column queues.task_definition.starts_per_second_per_key is 'How many tasks of this type and of one queue key start per second; null: no limit';
comment on column queues.task_definition.burst is 'How many tasks may start at once after a time without any; null: a tenth of starts_per_second';
comment on column queues.task_definition.keep_succeeded_for is 'For how long tasks that have succeeded are kept; null: pg_errand.retention, 0: for ever';
comment on column queues.task_definition.keep_failed_for is 'For how long tasks that have failed or were cancelled, and errors, are kept; null: pg_errand.retention, 0: for ever';
comment on column queues.task_definition.redact_payload is 'Whether a task that has succeeded loses its payload, except for the names of its handlers, and its response';
comment on column queues.task_definition.priority_ages_every is 'The priority of a ready task rises by one for each such interval since scheduled_at; null: never';

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

-- Raises an error if a row of queues.provider is not valid.
create function errand.check_provider(_row jsonb)
returns void
strict
language c
as 'MODULE_PATHNAME', 'check_provider_wrapper';

-- Raises an error if tasks of this type cannot be sent to this provider: built-in task types need certain interfaces.
create function errand.check_serves(_task_type text, _provider jsonb)
returns void
strict
language c
as 'MODULE_PATHNAME', 'check_serves_wrapper';

-- Raises an error if a task type names this provider.
create function errand.refuse_in_use(_provider text, _to_do text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _task_type text := (select min(d.task_type) from only queues.task_definition d where d.provider = _provider);
begin
    if _task_type is not null and not errand.replicates() then
        raise exception 'cannot % provider "%": task type "%" names it', _to_do, _provider, _task_type
            using errcode = 'dependent_objects_still_exist',
                  hint = 'Have the task type name another provider, or delete it, first.';
    end if;
end;
$$;

-- Lets only superusers make a provider trusted or built-in. The function is SECURITY INVOKER, so that current_user is
-- the role that writes the row.
create function errand.provider_before_write()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _super boolean := (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user);
begin
    if not _super then
        new.built_in := tg_op = 'UPDATE' and old.built_in;
        if tg_op = 'INSERT' or new.base_url is distinct from old.base_url then
            new.trusted := false;
        else
            new.trusted := old.trusted;
        end if;
    elsif tg_op = 'UPDATE' then
        -- A replicated row keeps its own value of trusted.
        new.trusted := new.trusted
            or new.base_url is distinct from old.base_url
            and current_setting('session_replication_role') <> 'replica';
    elsif new.built_in then
        -- A dump contains the built-in rows, which exist already in the database where it is restored. Rows are not
        -- deleted in a SECURITY DEFINER function, since the triggers of a user's table with a foreign key to this one
        -- would run with the privileges of the owner.
        delete from only queues.provider p
        where p.name = new.name
            and p.built_in;
    end if;
    return new;
end;
$$;

-- Checks a provider, and assigns its lane.
create function errand.provider_before_write_checked()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform errand.check_provider(to_jsonb(new));
    if least(new.timeout, new.idempotency_key_ttl, new.max_wait, new.breaker_cooldown) < '0' or new.timeout = '0' then
        raise exception 'provider "%": a time cannot be negative, and timeout has to be above 0', new.name
            using errcode = 'invalid_parameter_value',
                  hint = 'Use null for the default.';
    end if;
    if tg_op = 'UPDATE'
        and old.built_in
        and (new.name, new.interface) <> (old.name, old.interface)
        and not errand.replicates()
    then
        raise exception 'provider "%" is built in: neither its name nor its interface can be changed', old.name
            using errcode = 'dependent_objects_still_exist',
                  hint = 'Insert a provider of another name.';
    end if;
    if tg_op = 'UPDATE' and new.name <> old.name then
        perform errand.refuse_in_use(old.name, 'rename');
    end if;
    if tg_op = 'INSERT' or (new.interface, new.request) is distinct from (old.interface, old.request) then
        perform errand.check_serves(d.task_type, to_jsonb(new))
        from only queues.task_definition d
        where d.provider = new.name;
    end if;
    if new.lane = 0 then
        new.lane := coalesce(
            (
                select min(free.lane)
                from generate_series(1, 14) as free (lane)
                where not exists (select 1 from only queues.provider p where p.lane = free.lane)
            ),
            15
        );
    end if;
    return new;
end;
$$;

create trigger provider_before_write
    before insert or update on queues.provider
    for each row
    execute function errand.provider_before_write();

create trigger provider_before_write_checked
    before insert or update on queues.provider
    for each row
    execute function errand.provider_before_write_checked();

-- Lets only superusers make a task type built-in, see errand.provider_before_write.
create function errand.task_definition_before_write()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if not (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user) then
        new.built_in := tg_op = 'UPDATE' and old.built_in;
    elsif tg_op = 'INSERT' and new.built_in then
        delete from only queues.task_definition d
        where d.task_type = new.task_type
            and d.built_in;
    end if;
    return new;
end;
$$;

-- Raises an error if a limit of a task type is not valid.
create function errand.check_start_limit(_task_type text, _name text, _limit double precision)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if _limit <= 0 or _limit in ('NaN', 'Infinity') then
        raise exception 'task type "%": % has to be above 0, or null', _task_type, _name
            using errcode = 'invalid_parameter_value',
                  hint = 'Use null for no limit.';
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
create function errand.task_definition_before_write_checked()
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

create trigger task_definition_before_write
    before insert or update on queues.task_definition
    for each row
    execute function errand.task_definition_before_write();

create trigger task_definition_before_write_checked
    before insert or update on queues.task_definition
    for each row
    execute function errand.task_definition_before_write_checked();

-- Lets all sessions and workers read both tables again.
create function errand.task_definitions_after_change()
returns trigger
language c
as 'MODULE_PATHNAME', 'task_definitions_after_change_wrapper';

create trigger provider_after_change
    after insert or update or delete or truncate on queues.provider
    for each statement
    execute function errand.task_definitions_after_change();

create trigger task_definition_after_change
    after insert or update or delete or truncate on queues.task_definition
    for each statement
    execute function errand.task_definitions_after_change();

-- Lets a role enqueue tasks of a type. A notice names the privileges that the role still lacks.
create function queues.grant_enqueue(_task_type text, _role regrole)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _name name := (select r.rolname from pg_catalog.pg_roles r where r.oid = _role);
    _missing text;
begin
    if _name is null then
        raise exception 'cannot grant tasks of type "%" to a role that does not exist', _task_type
            using errcode = 'undefined_object',
                  hint = 'Name a role that exists; to_regrole() is null for others.';
    end if;

    update only queues.task_definition d
    set granted_to = array(
        select g.grantee
        from unnest(d.granted_to) as g (grantee)
        where g.grantee::text <> _name
        union all
        select _name::text::queues.grantee
    )
    where d.task_type = _task_type;
    if not found then
        raise exception 'unknown task type "%"', _task_type
            using errcode = 'invalid_parameter_value',
                  hint = 'Known task types are the rows of queues.task_definition.';
    end if;

    -- The role needs these privileges, too. Only the owner of the extension may grant them.
    select string_agg(format('GRANT %s TO %I;', n.privilege, _name), ' ' order by n.place)
    into _missing
    from (
        select 1, 'USAGE ON SCHEMA queues'
        where not has_schema_privilege(_role, 'queues', 'usage')
        union all
        select 2, format('EXECUTE ON FUNCTION %s', string_agg(f.name, ', ' order by f.place))
        from (
            values
                (1, 'queues.enqueue', true),
                (2, 'queues.http_post', _task_type = 'http'),
                (3, 'queues.http_get', _task_type = 'http'),
                (4, 'queues.result', _task_type = 'http')
        ) as f (place, name, needed)
        where f.needed
            and not has_function_privilege(_role, f.name::regproc, 'execute')
        having count(*) > 0
    ) as n (place, privilege);
    if _missing is not null then
        raise notice 'role "%" lacks privileges for tasks of type "%"', _name, _task_type
            using hint = format('Run: %s', _missing);
    end if;
end;
$$;

-- Reverses queues.grant_enqueue.
create function queues.revoke_enqueue(_task_type text, _role regrole)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _name name := (select r.rolname from pg_catalog.pg_roles r where r.oid = _role);
begin
    if _name is null then
        raise exception 'cannot revoke tasks of type "%" from a role that does not exist', _task_type
            using errcode = 'undefined_object',
                  hint = 'Name a role that exists; to_regrole() is null for others.';
    end if;

    update only queues.task_definition d
    set granted_to = array(
        select g.grantee
        from unnest(d.granted_to) as g (grantee)
        where g.grantee::text <> _name
    )
    where d.task_type = _task_type;
end;
$$;

select pg_catalog.pg_extension_config_dump('queues.provider', '');
select pg_catalog.pg_extension_config_dump('queues.task_definition', '');
