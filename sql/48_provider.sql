-- Services that tasks are sent to, and the types of tasks. Both are data: a new row counts from its
-- commit on, in every session and worker.
create table queues.provider (
    name text primary key,
    -- how it is spoken to: http, resend, smtp, twilio, simulated
    interface text not null default 'http',
    -- what the path of a request is appended to; null: the interface's setting, or none
    base_url text,
    -- none, bearer, basic, header, query, webhook
    auth text not null default 'none',
    -- the header, query parameter or user that the secret belongs to
    auth_name text,
    -- name of the secret, see pg_errand.secrets_dir
    secret text,
    -- name of the secret with the certificate and key that prove who we are
    client_certificate text,
    headers jsonb not null default '{}',
    -- limit for a call; null: pg_errand.call_timeout
    timeout interval,
    -- templates and conditions, see docs/providers.md
    request jsonb,
    expect jsonb,
    answer jsonb,
    failure jsonb,
    -- header for the idempotency key; null: Idempotency-Key, '': none
    idempotency_header text,
    -- how long the provider recognizes a key; 0: what was cut off is not sent again
    idempotency_key_ttl interval,
    -- limits of all workers together, see docs/providers.md
    requests_per_second double precision,
    burst integer,
    max_in_flight integer,
    -- tasks that may go out in one request, where the interface has such requests (resend: up to 100); null: one
    batch_size integer,
    -- how long a request waits for what the provider asks us to wait, in all
    max_wait interval not null default '1 hour',
    -- so many failures in a row are followed by a pause; null: never
    breaker_threshold integer,
    breaker_cooldown interval not null default '1 minute',
    -- where its tasks wait: providers up to 14 have a lane of their own, others share the last one
    lane smallint not null default 0,
    -- a superuser has set base_url: it may be in a private network
    trusted boolean not null default true,
    -- comes with the extension
    built_in boolean not null default false
);

comment on table queues.provider is 'Services that tasks are sent to';

-- A role, or public, that something is granted to. Its text form is the role's name; it is stored as the role's OID.
-- So a grant follows a role that is renamed, and does not pass to a new role of the same name. A role that does
-- not exist is left out with a warning, so that a dump can be restored where a role is missing.
create type queues.grantee;

create function queues.grantee_in(cstring)
returns queues.grantee
stable
strict
language c
as 'MODULE_PATHNAME', 'grantee_in_wrapper';

create function queues.grantee_out(queues.grantee)
returns cstring
stable
strict
language c
as 'MODULE_PATHNAME', 'grantee_out_wrapper';

create type queues.grantee (
    input = queues.grantee_in,
    output = queues.grantee_out,
    like = oid
);

comment on type queues.grantee is 'A role, or public: written as its name, stored as its OID';

-- For queries that compare or set granted_to as an array of names.
create cast (queues.grantee as text) with inout as implicit;
create cast (text as queues.grantee) with inout as assignment;

create table queues.task_definition (
    task_type text primary key,
    -- call: a provider is called; db_function: the payload names the function to run
    processor text not null default 'call',
    provider text,
    -- a setting that names the provider, if provider is null
    provider_setting text,
    -- roles that may enqueue such tasks; public: whoever may call queues.enqueue
    granted_to queues.grantee[] not null default '{}',
    built_in boolean not null default false
);

comment on table queues.task_definition is 'Types of tasks';

-- Raises if a provider's row makes no sense.
create function queues.check_provider(_row jsonb)
returns void
strict
language c
as 'MODULE_PATHNAME', 'check_provider_wrapper';

-- Raises if tasks of this type cannot be sent to this provider: one of the types that are built in can name a provider of
-- another interface.
create function queues.check_serves(_task_type text, _provider jsonb)
returns void
strict
language c
as 'MODULE_PATHNAME', 'check_serves_wrapper';

-- Raises if a task type names this provider.
create function queues.refuse_in_use(_provider text, _to_do text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _task_type text := (select min(d.task_type) from only queues.task_definition d where d.provider = _provider);
begin
    if _task_type is not null and not queues.replicates() then
        raise exception 'cannot % provider "%": task type "%" names it', _to_do, _provider, _task_type
            using errcode = 'dependent_objects_still_exist',
                  hint = 'Have the task type name another provider, or delete it, first.';
    end if;
end;
$$;

-- Security invoker: only a superuser makes a provider trusted or built in.
create function queues.provider_before_write()
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
        -- A replicated row keeps the value of trusted that it comes with.
        new.trusted := new.trusted
            or new.base_url is distinct from old.base_url
            and current_setting('session_replication_role') <> 'replica';
    elsif new.built_in then
        -- A dump holds built-in rows, which exist already where it is restored. Not in the SECURITY DEFINER trigger:
        -- a user's table that refers to this one would run its triggers with the owner's rights.
        delete from only queues.provider p
        where p.name = new.name
            and p.built_in;
    end if;
    return new;
end;
$$;

create function queues.provider_before_write_checked()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform queues.check_provider(to_jsonb(new));
    if least(new.timeout, new.idempotency_key_ttl, new.max_wait, new.breaker_cooldown) < '0' or new.timeout = '0' then
        raise exception 'provider "%": a time cannot be negative, and timeout has to be above 0', new.name
            using errcode = 'invalid_parameter_value',
                  hint = 'Use null for the default.';
    end if;
    if tg_op = 'UPDATE'
        and old.built_in
        and (new.name, new.interface) <> (old.name, old.interface)
        and not queues.replicates()
    then
        raise exception 'provider "%" is built in: neither its name nor its interface can be changed', old.name
            using errcode = 'dependent_objects_still_exist',
                  hint = 'Insert a provider of another name.';
    end if;
    if tg_op = 'UPDATE' and new.name <> old.name then
        perform queues.refuse_in_use(old.name, 'rename');
    end if;
    if tg_op = 'INSERT' or (new.interface, new.request) is distinct from (old.interface, old.request) then
        perform queues.check_serves(d.task_type, to_jsonb(new))
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
    execute function queues.provider_before_write();

create trigger provider_before_write_checked
    before insert or update on queues.provider
    for each row
    execute function queues.provider_before_write_checked();

-- Security invoker, as for providers: only a superuser makes a task type built in.
create function queues.task_definition_before_write()
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

create function queues.task_definition_before_write_checked()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if new.task_type !~ '^[a-z][a-z0-9_.-]{0,62}$' then
        raise exception 'task type "%" is no proper name', new.task_type
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
        and not queues.replicates()
    then
        raise exception 'task type "%" is built in: neither its name nor its processor can be changed', old.task_type
            using errcode = 'dependent_objects_still_exist',
                  hint = 'Insert a task type of another name.';
    end if;
    -- Leave roles out that do not exist.
    new.granted_to := array(
        select g.grantee
        from unnest(new.granted_to) with ordinality as g (grantee, position)
        where g.grantee::text <> 'none'
        order by g.position
    );
    -- While a dump is restored the provider may come later.
    if new.provider is not null and not exists (select 1 from only queues.provider p where p.name = new.provider) then
        raise warning 'task type "%" names provider "%", which does not exist', new.task_type, new.provider
            using hint = 'Insert it into queues.provider; until then such tasks are refused.';
    end if;
    if tg_op = 'INSERT' or new.provider is distinct from old.provider then
        perform queues.check_serves(new.task_type, to_jsonb(p))
        from only queues.provider p
        where p.name = new.provider;
    end if;
    return new;
end;
$$;

create trigger task_definition_before_write
    before insert or update on queues.task_definition
    for each row
    execute function queues.task_definition_before_write();

create trigger task_definition_before_write_checked
    before insert or update on queues.task_definition
    for each row
    execute function queues.task_definition_before_write_checked();

-- Has every session and worker read both tables anew.
create function queues.task_definitions_after_change()
returns trigger
language c
as 'MODULE_PATHNAME', 'task_definitions_after_change';

create trigger provider_after_change
    after insert or update or delete or truncate on queues.provider
    for each statement
    execute function queues.task_definitions_after_change();

create trigger task_definition_after_change
    after insert or update or delete or truncate on queues.task_definition
    for each statement
    execute function queues.task_definitions_after_change();

-- Lets a role enqueue tasks of a type. A notice names the privileges that it needs besides.
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
        raise exception 'there is no such role to allow tasks of type "%"', _task_type
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

    -- Being allowed a type is of no use without these. Granting them is for the owner of the extension.
    select string_agg(format('GRANT %s TO %I;', n.privilege, _name), ' ' order by n.place)
    into _missing
    from (
        select 1, 'USAGE ON SCHEMA queues'
        where not has_schema_privilege(_role, 'queues', 'usage')
        union all
        select 2, format('EXECUTE ON FUNCTION %s', string_agg(f.name, ', ' order by f.place))
        from (
            values
                (1, 'queues.enqueue(text, jsonb, timestamptz)', true),
                (2, 'queues.http_post(text, jsonb, jsonb, timestamptz)', _task_type = 'http'),
                (3, 'queues.http_get(text, jsonb, timestamptz)', _task_type = 'http'),
                (4, 'queues.result(bigint)', _task_type = 'http')
        ) as f (place, name, needed)
        where f.needed
            and not has_function_privilege(_role, f.name, 'execute')
        having count(*) > 0
    ) as n (place, privilege);
    if _missing is not null then
        raise notice 'role "%" lacks privileges for tasks of type "%"', _name, _task_type
            using hint = format('Run: %s', _missing);
    end if;
end;
$$;

-- Takes that back.
create function queues.revoke_enqueue(_task_type text, _role regrole)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _name name := (select r.rolname from pg_catalog.pg_roles r where r.oid = _role);
begin
    if _name is null then
        raise exception 'there is no such role to disallow tasks of type "%"', _task_type
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
