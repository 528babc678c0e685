-- sql/00_guard.sql

-- Unqualified names in this script refer to pg_catalog.
set local search_path = pg_catalog, pg_temp;

-- Refuses to install in a database that already has objects of these names.
do $$
declare
    _schema name;
begin
    if getdatabaseencoding() <> 'UTF8' then
        raise exception 'pg_errand needs a database with encoding UTF8, this one has %', getdatabaseencoding()
            using errcode = 'feature_not_supported',
                  hint = 'Create a database with: CREATE DATABASE name ENCODING ''UTF8'' TEMPLATE template0;';
    end if;
    foreach _schema in array '{queues,errand}'::name[] loop
        if to_regnamespace(quote_ident(_schema)) is not null then
            raise exception 'schema "%" already exists', _schema
                using errcode = 'duplicate_schema',
                      detail = 'pg_errand keeps its tables and functions in the schemas "queues" and "errand".',
                      hint = 'Rename or drop the schema, or install pg_errand in a database without it.';
        end if;
    end loop;
    if exists (
        select 1
        from pg_proc p
        join pg_namespace n on n.oid = p.pronamespace
        where n.nspname = 'internal'
            and p.proname = 'run_function'
    ) then
        raise exception 'function internal.run_function already exists'
            using errcode = 'duplicate_function',
                  detail = 'pg_errand brings a function of this name.',
                  hint = 'Rename or drop the function first.';
    end if;
end;
$$;

-- sql/10_schemas.sql

-- The objects that users call and read. PUBLIC has no privileges on the schema.
create schema queues;

comment on schema queues is 'pg_errand: tasks, errors, providers, and the functions that enqueue tasks';

-- The objects that only the extension itself calls and reads. No role but the owner has USAGE on the schema.
create schema errand;

comment on schema errand is 'pg_errand: internal functions and tables';

-- Returns whether the library is preloaded, so that workers can start.
create function errand.preloaded()
returns boolean
language c
as 'MODULE_PATHNAME', 'preloaded_wrapper';

-- "internal" is shared with users, who keep objects of their own in it. Therefore it never is a member of the extension.
do $$
begin
    if to_regnamespace('internal') is null then
        create schema internal;
        alter extension pg_errand drop schema internal;
        -- Revokes the privileges that ALTER DEFAULT PRIVILEGES has granted to other roles.
        execute (
            select coalesce(
                string_agg(
                    format(
                        'revoke all on schema internal from %s',
                        coalesce(nullif(a.grantee, 0)::regrole::text, 'public')
                    ),
                    '; '
                ),
                'select'
            )
            from pg_namespace n
            cross join lateral aclexplode(n.nspacl) a
            where n.nspname = 'internal'
                and a.grantee <> n.nspowner
        );
    end if;
end;
$$;

-- sql/15_home.sql

-- The identity of this database. Each task carries the origin of the database in which it was enqueued, and runs only
-- there. A copy of a database (restored from a dump, created from a template, replicated, started from a base backup)
-- has another origin; tasks that came with the copy are unadopted until queues.adopt() is called.
create table errand.home (
    -- the origin of tasks that are enqueued in this database
    origin bigint not null,
    -- the system identifier of the server in which this row is valid, see pg_control_system()
    system bigint not null,
    -- the OID of the database in which this row is valid
    database oid not null,
    -- the identity of the data directory if it was created by a base backup, otherwise 0
    directory bigint not null
);

comment on table errand.home is 'The identity of this database: tasks of another origin are unadopted';

-- Without a replica identity, a publication of all tables would forbid updates.
alter table errand.home replica identity full;

-- Returns where this session runs: the last three columns of errand.home.
create function errand.place(out system bigint, out database oid, out directory bigint)
returns setof record
language c
as 'MODULE_PATHNAME', 'place_wrapper';

-- Each CREATE EXTENSION creates a new origin. Dumps leave the table out, since a restored database is a copy.
insert into errand.home (origin, system, database, directory)
select hashtextextended(gen_random_uuid()::text, 0), place.system, place.database, place.directory
from errand.place() place;

-- Returns the origin of tasks that are enqueued in this database. The default of a column and the views call this
-- function with the privileges of the role that uses them, so PUBLIC may execute it.
create function errand.queue_origin()
returns bigint
stable
language c
as 'MODULE_PATHNAME', 'queue_origin_wrapper';

-- sql/20_task.sql

-- Tasks. A worker inside the database claims a task that is ready by locking its row; running the task and recording
-- its end is one transaction. So a task that has ended has one more row version, and a running one has none: live
-- workers show what is running.
create table queues.task (
    task_id bigint generated by default as identity primary key,
    task_type text not null,
    payload jsonb not null,
    enqueued_at timestamptz not null default now(),
    scheduled_at timestamptz not null default now(),
    -- the start of the latest attempt
    dequeued_at timestamptz,
    -- the number of attempts that have started
    attempts integer not null default 0,
    -- whether a worker outside the database has dequeued the task
    leased boolean not null default false,
    -- the task is not handed out before this time: the end of its lease, or of the backoff before a retry
    not_before timestamptz,
    -- whether the task is between the steps of a provider call, see queues.call
    calling boolean not null default false,
    finished_at timestamptz,
    -- succeeded, failed or cancelled; set together with finished_at. Only functions of the extension set it, so it has
    -- no check constraint, which would be parsed again at the end of each task.
    final_status text,
    -- what a handler returned besides success: a status or a validation failure
    outcome text,
    -- the database in which the task was enqueued, see errand.home
    origin bigint not null default errand.queue_origin(),
    -- tasks of a higher priority start first; null: 0. The trigger turns 0 into null, which takes no space.
    priority smallint,
    -- see queues.enqueue
    unique_key text,
    -- the running task of the same unique key after which this task starts
    follows bigint,
    -- tasks of the same type and key take turns, see docs/supervisors.md; the trigger turns '' into null
    queue_key text
)
-- At the end of a task its new row version, which is somewhat longer, fits on the same page. That takes less than half
-- the WAL of a second page and keeps workers off each other's pages. In return, finished tasks take twice the space.
with (fillfactor = 45);

comment on table queues.task is 'Tasks: scheduled, ready, running and finished';
comment on column queues.task.not_before is 'Not handed out before this time: the end of a lease, or of the backoff before a retry';
comment on column queues.task.calling is 'Whether the task is between the steps of a provider call, see queues.call';
comment on column queues.task.origin is 'The database in which the task was enqueued';
comment on column queues.task.unique_key is 'Identifies the task among unfinished tasks of its type, see queues.enqueue';
comment on column queues.task.follows is 'The task of the same unique key after whose end this task starts';
comment on column queues.task.queue_key is 'Tasks of the same type and key run in order, at most max_running_per_key at a time';
comment on column queues.task.outcome is 'What a handler returned besides success: a status or a validation failure';
comment on column queues.task.priority is 'Tasks of a higher priority start first; null is 0';

-- Plain tasks that may be claimed, in their order.
create index task_ready on queues.task (origin, scheduled_at, task_id)
    where finished_at is null and not calling and priority is null and queue_key is null;

-- Prioritized tasks that may be claimed, in the order of each priority.
create index task_prioritized on queues.task (origin, priority, scheduled_at, task_id)
    where finished_at is null and not calling and priority is not null and queue_key is null;

-- Unfinished tasks with a queue key, in the order of each key. Digests stand for the texts, so neither a collation nor
-- the length of a key matters.
create index task_keyed
    on queues.task (
        origin,
        hashtextextended(task_type, 0),
        hashtextextended(queue_key, 0),
        scheduled_at,
        task_id
    )
    where finished_at is null and queue_key is not null;

-- The same, by the time when they fall due.
create index task_keyed_due on queues.task (origin, scheduled_at, task_id)
    where finished_at is null and queue_key is not null;

-- Those that keep their key busy although no worker runs them.
create index task_keyed_busy
    on queues.task (origin, hashtextextended(task_type, 0), hashtextextended(queue_key, 0))
    where finished_at is null and queue_key is not null and (calling or leased);

-- Deferred tasks, by the time when they become ready.
create index task_deferred on queues.task (not_before)
    where finished_at is null and not_before is not null;

-- At most one unfinished task of each key and type, and one that follows it. Finished tasks are in it, too, since a
-- second index would make every insert slower: they are distinct by their id.
create unique index task_unique
    on queues.task (
        unique_key,
        task_type,
        origin,
        (case when finished_at is not null then task_id end),
        follows
    ) nulls not distinct
    where unique_key is not null;

-- Refuses unknown task types, turns priority 0 and the queue key '' into null, and lets the commit wake a worker.
create function errand.task_before_write()
returns trigger
language c
as 'MODULE_PATHNAME', 'task_before_write_wrapper';

create trigger task_before_insert
    before insert on queues.task
    for each row
    execute function errand.task_before_write();

-- An update of these columns is checked and announced like an insert.
create trigger task_before_update
    before update of task_type, payload, scheduled_at, origin, priority, unique_key, queue_key on queues.task
    for each row
    execute function errand.task_before_write();

-- Lets the commit announce that a task becomes ready at _due_at.
create function errand.announce(_due_at timestamptz)
returns void
strict
language c
as 'MODULE_PATHNAME', 'announce_wrapper';

select pg_catalog.pg_extension_config_dump('queues.task', '');
select pg_catalog.pg_extension_config_dump('queues.task_task_id_seq', '');

-- sql/30_error.sql

-- Errors, a row for each failure. Rows are only inserted; retention removes old ones.
create table queues.error (
    error_id bigint generated by default as identity primary key,
    -- null after the task has been removed
    task_id bigint,
    error_message text not null,
    created_at timestamptz not null default clock_timestamp(),
    task_type text,
    -- the handler that failed, as the payload names it
    handler text,
    -- the number of the attempt that failed
    attempt integer,
    sqlstate text,
    detail text,
    hint text,
    -- the call stack, as in PostgreSQL's CONTEXT
    context text
);

comment on table queues.error is 'Errors, a row for each failure; append-only';

create index error_task_id on queues.error (task_id);

select pg_catalog.pg_extension_config_dump('queues.error', '');
select pg_catalog.pg_extension_config_dump('queues.error_error_id_seq', '');

-- sql/40_call.sql

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

-- sql/45_removal.sql

-- When tasks are removed, their errors lose their task_id, and their calls are removed. Triggers do that and not
-- foreign keys, since pg_restore --jobs loads tables in any order while the keys of an extension's tables exist already.
--
-- Both functions write with the privileges of the owner of the tables. The triggers of other tables that follow, for
-- example of a user's foreign key that cascades, run with the privileges of the role that removes the tasks. A SECURITY
-- DEFINER function cannot do that, see src/removal.rs.
create function errand.task_after_delete()
returns trigger
language c
as 'MODULE_PATHNAME', 'task_after_delete_wrapper';

create trigger task_after_delete
    after delete on queues.task
    referencing old table as gone
    for each statement
    execute function errand.task_after_delete();

-- Also removes from shared memory the attempts that ended with their worker, since task ids may be used again.
create function errand.task_after_truncate()
returns trigger
language c
as 'MODULE_PATHNAME', 'task_after_truncate_wrapper';

create trigger task_after_truncate
    after truncate on queues.task
    for each statement
    execute function errand.task_after_truncate();

-- sql/48_provider.sql

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
    priority_ages_every interval
);

comment on table queues.task_definition is 'Task types: how their tasks are processed, and who may enqueue them';
comment on column queues.task_definition.max_running is 'How many tasks of this type run at once, including those whose call is in flight; null: no limit';
comment on column queues.task_definition.starts_per_second is 'How many tasks of this type start per second; null: no limit';
comment on column queues.task_definition.max_running_per_key is 'How many tasks of this type and of one queue key run at once; 1: one after the other, in order';
comment on column queues.task_definition.starts_per_second_per_key is 'How many tasks of this type and of one queue key start per second; null: no limit';
comment on column queues.task_definition.burst is 'How many tasks may start at once after a time without any; null: a tenth of starts_per_second';
comment on column queues.task_definition.priority_ages_every is 'The priority of a ready task rises by one for each such interval since scheduled_at; null: never';

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

-- sql/49_built_in.sql

-- The rows and triggers on which every task depends: the row of errand.home, the built-in task types and providers, and
-- the triggers. Triggers protect them from being removed by mistake, and queues.restore_built_in() restores them.

-- Returns whether this process applies replicated changes: an error there would stop the subscription.
create function errand.replicates()
returns boolean
stable
language sql
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(bool_or(starts_with(a.backend_type, 'logical replication')), false)
    from pg_stat_get_activity(pg_backend_pid()) a;
$$;

-- Refuses to remove all rows of a table. SECURITY DEFINER, since it calls a function in the schema "errand".
create function errand.refuse_emptying()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if errand.replicates() then
        return null;
    end if;
    raise exception 'cannot % all rows of table "%.%"', lower(tg_op), tg_table_schema, tg_table_name
        using errcode = 'dependent_objects_still_exist',
              detail = 'Tasks cannot be enqueued or run without what the extension keeps there.',
              hint = case tg_table_name
                  when 'home' then 'Leave the table out; to remove all tasks, run: TRUNCATE queues.task, queues.error;'
                  else format('Leave the table out, or run: DELETE FROM %I.%I WHERE NOT built_in;', tg_table_schema, tg_table_name)
              end;
end;
$$;

create trigger home_before_emptying
    before delete or truncate on errand.home
    for each statement
    execute function errand.refuse_emptying();

create trigger provider_before_emptying
    before truncate on queues.provider
    for each statement
    execute function errand.refuse_emptying();

create trigger task_definition_before_emptying
    before truncate on queues.task_definition
    for each statement
    execute function errand.refuse_emptying();

-- Refuses to delete a built-in task type, unless a trigger deletes it: errand.task_definition_before_write replaces
-- rows. SECURITY DEFINER, since it calls a function in the schema "errand".
create function errand.task_definition_before_delete()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if old.built_in and pg_trigger_depth() = 1 and not errand.replicates() then
        raise exception 'cannot delete task type "%": it is built in', old.task_type
            using errcode = 'dependent_objects_still_exist',
                  hint = format('To have nobody enqueue such tasks, run: UPDATE queues.task_definition SET granted_to = ''{}'' WHERE task_type = %L;', old.task_type);
    end if;
    return old;
end;
$$;

create trigger task_definition_before_delete
    before delete on queues.task_definition
    for each row
    execute function errand.task_definition_before_delete();

-- Refuses to delete a built-in provider, or one that a task type names.
create function errand.provider_before_delete()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if pg_trigger_depth() > 1 or errand.replicates() then
        return old;
    end if;
    if old.built_in then
        raise exception 'cannot delete provider "%": it is built in', old.name
            using errcode = 'dependent_objects_still_exist',
                  hint = 'Leave it; without a task type that names it, nothing is sent to it.';
    end if;
    perform errand.refuse_in_use(old.name, 'delete');
    return old;
end;
$$;

create trigger provider_before_delete
    before delete on queues.provider
    for each row
    execute function errand.provider_before_delete();

-- Sets the triggers of the extension to ENABLE ALWAYS, and returns those that were not. Replicated rows are then
-- checked and wake workers, too, and a role that may set session_replication_role cannot bypass the checks. The library
-- calls this function after ALTER TABLE … ENABLE TRIGGER ALL, which pg_restore --disable-triggers runs.
create function errand.restore_triggers()
returns setof text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _name name;
    _table regclass;
begin
    for _name, _table in
        select t.tgname, t.tgrelid
        from pg_extension e
        join pg_depend r on r.refclassid = 'pg_extension'::regclass and r.refobjid = e.oid
        join pg_trigger t on r.classid = 'pg_class'::regclass and r.objid = t.tgrelid
        join pg_depend f on f.classid = 'pg_proc'::regclass and f.objid = t.tgfoid
        where e.extname = 'pg_errand'
            and r.deptype = 'e'
            and f.deptype = 'e'
            and f.refclassid = 'pg_extension'::regclass
            and f.refobjid = e.oid
            and not t.tgisinternal
            and t.tgenabled <> 'A'
        order by t.tgrelid, t.tgname
    loop
        execute format('alter table %s enable always trigger %I', _table, _name);
        return query select format('trigger %I of %s', _name, _table);
    end loop;
end;
$$;

-- Restores the rows and triggers on which every task depends, and returns what was missing. Other rows are kept, as are
-- changes of built-in rows (limits, grants …).
create function queues.restore_built_in()
returns setof text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _name text;
begin
    if not (select r.rolsuper from pg_roles r where r.rolname = current_user) then
        raise exception 'permission denied to restore built-in rows'
            using errcode = 'insufficient_privilege',
                  hint = 'Only a superuser may call queues.restore_built_in().';
    end if;

    return query select errand.restore_triggers();

    if not exists (select 1 from only errand.home) then
        insert into errand.home (origin, system, database, directory)
        select errand.queue_origin(), place.system, place.database, place.directory
        from errand.place() place;
        return query select 'errand.home'::text;
    end if;

    for _name in
        -- The provider http is not trusted, since its requests may go to any URL that pg_errand.http_allowed_hosts allows.
        insert into queues.provider (name, interface, trusted, built_in)
        select wanted.name, wanted.name, wanted.name <> 'http', true
        from unnest('{resend,simulated,smtp,twilio,http}'::text[]) as wanted (name)
        where not exists (select 1 from only queues.provider p where p.name = wanted.name)
        returning name
    loop
        return query select format('provider %s', _name);
    end loop;

    for _name in
        insert into queues.task_definition (task_type, processor, provider, provider_setting, granted_to, built_in)
        select wanted.*, true
        from (
            values
                ('db_function', 'db_function', null, null, '{public}'::queues.grantee[]),
                ('email', 'call', null, 'pg_errand.email_provider', '{public}'),
                ('sms', 'call', null, 'pg_errand.sms_provider', '{public}'),
                ('http', 'call', 'http', null, '{}')
        ) as wanted (task_type, processor, provider, provider_setting, granted_to)
        where not exists (select 1 from only queues.task_definition d where d.task_type = wanted.task_type)
        returning task_type
    loop
        return query select format('task type %s', _name);
    end loop;

    -- While triggers were disabled, tasks may have been enqueued without being announced.
    perform errand.announce(clock_timestamp());
end;
$$;

select queues.restore_built_in();

-- sql/50_enqueue.sql

-- Enqueues a task and returns its id. A worker starts the task when this transaction commits, or at _scheduled_at if
-- that is later. Raises an error if the task type is unknown or not granted to the caller, see queues.grant_enqueue.
-- The row is written with the privileges of the owner of the extension.
--
-- While there is an unfinished task of this type with the same _unique_key, no other one is enqueued. Its id is returned,
-- and _if_exists says what happens: keep (nothing), replace (payload, time and priority are replaced), debounce (the
-- same, but at most _debounce_limit after the task was first enqueued), error. If that task is running, replace and
-- debounce enqueue another one, which starts after it. With _unique_for, tasks that succeeded or failed count, too, if
-- they were enqueued within that time.
--
-- Tasks of a type with the same _queue_key take turns: in order of time, and at most max_running_per_key of the task
-- definition at once.
create function queues.enqueue(
    _task_type text,
    _payload jsonb,
    _scheduled_at timestamptz default now(),
    _unique_key text default null,
    _if_exists text default 'keep',
    _unique_for interval default null,
    _debounce_limit interval default null,
    _priority integer default 0,
    _queue_key text default null
)
returns bigint
language c
as 'MODULE_PATHNAME', 'enqueue_wrapper';

-- Enqueues many tasks and returns their ids, in order. _tasks is an array of objects whose keys are the names of the
-- arguments of queues.enqueue, with or without the leading underscore.
create function queues.enqueue_many(_tasks jsonb)
returns setof bigint
language c
as 'MODULE_PATHNAME', 'enqueue_many_wrapper';

-- Enqueues a task of one type for each payload and returns their ids, in order. The other arrays have a value for each
-- payload, or are null.
create function queues.enqueue_many(
    _task_type text,
    _payloads jsonb[],
    _scheduled_at timestamptz[] default null,
    _unique_keys text[] default null,
    _if_exists text default 'keep',
    _unique_for interval default null,
    _debounce_limit interval default null,
    _priority integer default 0,
    _queue_keys text[] default null
)
returns setof bigint
language c
as 'MODULE_PATHNAME', 'enqueue_payloads_wrapper';

-- sql/55_http.sql

-- Enqueues a task that sends a POST request with a JSON body.
create function queues.http_post(
    _url text,
    _body jsonb default '{}',
    _headers jsonb default '{}',
    _scheduled_at timestamptz default now()
)
returns bigint
language sql
as $$
    select queues.enqueue(
        'http',
        pg_catalog.jsonb_build_object(
            'task_type', 'http',
            'request', pg_catalog.jsonb_build_object(
                'method', 'POST',
                'url', _url,
                'headers', _headers,
                'body', pg_catalog.jsonb_build_object('json', _body)
            )
        ),
        _scheduled_at
    );
$$;

-- Enqueues a task that sends a GET request.
create function queues.http_get(
    _url text,
    _headers jsonb default '{}',
    _scheduled_at timestamptz default now()
)
returns bigint
language sql
as $$
    select queues.enqueue(
        'http',
        pg_catalog.jsonb_build_object(
            'task_type', 'http',
            'request', pg_catalog.jsonb_build_object('method', 'GET', 'url', _url, 'headers', _headers)
        ),
        _scheduled_at
    );
$$;

-- Returns the response of a provider, in the form that the success handler receives. For a call that failed, returns
-- {"error": …} with the response if there was one. Returns null if the task has no call, or no response yet.
create function queues.result(task_id bigint)
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
        and c.responded_at is not null;
$$;

-- sql/56_start_limits.sql

-- The limits of task types (max_running, starts_per_second) for workers outside the database.

-- Whether the limits of a type let another task start, of which _leased are leased.
create function errand.has_start(_task_type text, _leased bigint)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'has_start_wrapper';

-- Reserves the start of a task until the transaction ends; false if the limits of its type refuse it. _leased is the
-- number of tasks of the type that are leased.
create function errand.reserve_start(_task_type text, _leased bigint)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'reserve_start_wrapper';

-- The number of leased tasks of a type.
create function errand.count_leases(_task_type text)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $$
    select count(*)
    from only queues.task t
    where t.finished_at is null
        and t.not_before > clock_timestamp()
        and t.leased
        and t.task_type = _task_type;
$$;

-- Those of these types that have limits.
create function errand.limited_types(_task_types text[])
returns text[]
language sql
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(array_agg(d.task_type), '{}')
    from only queues.task_definition d
    where d.task_type = any (_task_types)
        and (d.max_running is not null or d.starts_per_second is not null);
$$;

-- Whether a task of a limited type may be dequeued, without reserving its start.
create function errand.may_start(_task_type text)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    -- An older snapshot would not show all leases.
    return current_setting('transaction_isolation') not in ('repeatable read', 'serializable')
        and errand.has_start(_task_type, errand.count_leases(_task_type));
end;
$$;

-- Reserves the start of a task of a limited type; false if it may not be dequeued.
create function errand.begin_start(_task_type text)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    -- Until this transaction ends, no other session sees its lease, so none dequeues a task of this type.
    perform 1
    from only queues.task_definition d
    where d.task_type = _task_type
    for no key update skip locked;
    if not found then
        return false;
    end if;
    -- The type is counted after it has been locked.
    return errand.reserve_start(_task_type, errand.count_leases(_task_type));
end;
$$;

-- sql/57_ageing.sql

-- The order of tasks whose priority rises while they wait (queues.task_definition.priority_ages_every), for workers
-- outside the database. Workers inside keep the same order, see crates/queue/src/ageing.rs.

-- Locks the next task without a queue key of these types that is ready at _now: the one of the highest effective priority,
-- and of these the one that has had it for longest, if it comes before a position (null: any). All are null if there is
-- none.
create function errand.lock_next_aged(
    _task_types text[],
    _now timestamptz,
    _before_priority integer,
    _before_time timestamptz,
    _before_id bigint,
    out task_id bigint,
    out task_type text,
    out was_leased boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    _here bigint := errand.queue_origin();
    _passed bigint[] := array(select w.task_id from errand.worker_state() w where w.task_id is not null);
    _next bigint;
begin
    loop
        -- Types without ageing have a common order, each other type has one of its own. Only the first task of each
        -- order and priority can be the next one.
        with recursive level (priority) as (
            select max(r.priority)
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority is not null
                and r.queue_key is null
            union all
            select (
                select max(r.priority)
                from only queues.task r
                where r.origin = _here
                    and r.finished_at is null
                    and not r.calling
                    and r.priority is not null
                    and r.queue_key is null
                    and r.priority < l.priority
            )
            from level l
            where l.priority is not null
        ),
        types as (
            select array_agg(d.task_type) as names, nullif(greatest(extract(epoch from min(d.priority_ages_every)), 0), 0) as ages_every
            from only queues.task_definition d
            where d.task_type = any (_task_types)
            group by case when d.priority_ages_every is not null then d.task_type end
        ),
        heads as (
            select r.task_id, 0 as priority, extract(epoch from r.scheduled_at) as scheduled_at, y.ages_every
            from types y
            cross join lateral (
                select r.task_id, r.scheduled_at
                from only queues.task r
                where r.origin = _here
                    and r.finished_at is null
                    and not r.calling
                    and r.priority is null
                    and r.queue_key is null
                    and r.task_type = any (y.names)
                    and r.scheduled_at <= _now
                    and (r.not_before is null or r.not_before <= _now)
                    and r.task_id <> all (_passed)
                    -- A task that follows another one with its unique key starts after that one's end.
                    and not exists (
                        select 1
                        from only queues.task p
                        where p.task_id = r.follows
                            and p.finished_at is null
                    )
                order by r.scheduled_at, r.task_id
                limit 1
            ) r
            union all
            select r.task_id, l.priority, extract(epoch from r.scheduled_at), y.ages_every
            from types y
            cross join level l
            cross join lateral (
                select r.task_id, r.scheduled_at
                from only queues.task r
                where r.origin = _here
                    and r.finished_at is null
                    and not r.calling
                    and r.priority = l.priority
                    and r.queue_key is null
                    and r.task_type = any (y.names)
                    and r.scheduled_at <= _now
                    and (r.not_before is null or r.not_before <= _now)
                    and r.task_id <> all (_passed)
                    and not exists (
                        select 1
                        from only queues.task p
                        where p.task_id = r.follows
                            and p.finished_at is null
                    )
                order by r.scheduled_at, r.task_id
                limit 1
            ) r
        )
        select h.task_id
        into _next
        from heads h
        cross join lateral (
            select case
                when h.ages_every is null then 0
                else least(div(extract(epoch from _now) - h.scheduled_at, h.ages_every), 32767 - h.priority)
            end as gained
        ) aged
        cross join lateral (
            select
                -(h.priority + aged.gained) as rank,
                h.scheduled_at + aged.gained * coalesce(h.ages_every, 0) as since
        ) effective
        where _before_priority is null
            or (effective.rank, effective.since, h.task_id)
                < (-_before_priority, extract(epoch from _before_time), _before_id)
        order by effective.rank, effective.since, h.task_id
        limit 1;
        exit when _next is null;

        select r.task_id, r.task_type, r.leased
        into task_id, task_type, was_leased
        from only queues.task r
        where r.task_id = _next
            and r.origin = _here
            and r.finished_at is null
            and not r.calling
            and r.queue_key is null
            and r.task_type = any (_task_types)
            and r.scheduled_at <= _now
            and (r.not_before is null or r.not_before <= _now)
        for no key update skip locked;
        exit when found;
        -- Another worker has it.
        _passed := _passed || _next;
    end loop;
end;
$$;

-- sql/58_queue_key.sql

-- Queue keys: tasks of the same type and key run in order, at most max_running_per_key of the task definition at a time.

-- Keys that are paused: workers start none of their tasks.
create table queues.paused_key (
    task_type text not null,
    queue_key text not null,
    -- when the pause ends; null: with queues.resume_key
    paused_until timestamptz,
    reason text,
    paused_by text not null default session_user,
    paused_at timestamptz not null default clock_timestamp()
);

-- With a primary key, foreign keys of users could refer to the table: their actions would run in the functions below.
create unique index paused_key_unique on queues.paused_key (task_type, (queue_key || ''));
-- A publication of all tables needs it.
alter table queues.paused_key replica identity full;

comment on table queues.paused_key is 'Queue keys that are paused, see queues.pause_key';
comment on column queues.paused_key.paused_until is 'When the pause ends; null: with queues.resume_key';

select pg_catalog.pg_extension_config_dump('queues.paused_key', '');

-- Lets the commit announce that a task of this key may start.
create function errand.announce_key(_task_type text, _queue_key text)
returns void
strict
language c
as 'MODULE_PATHNAME', 'announce_key_wrapper';

-- Locks a key until the transaction ends, so that no other session starts a task of it. Returns false if another one
-- has locked it. The end of the transaction is announced to the workers that were refused meanwhile.
create function errand.try_key_lock(_task_type text, _queue_key text)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'try_key_lock_wrapper';

-- The number of workers inside that run a task of this key, or are about to.
create function errand.workers_of_key(_task_type text, _queue_key text)
returns integer
strict
language c
as 'MODULE_PATHNAME', 'workers_of_key_wrapper';

-- Whether the rate of a key lets a task start now.
create function errand.has_key_start(_task_type text, _queue_key text)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'has_key_start_wrapper';

-- Counts the start of a task of a key; false if its rate lets none start now.
create function errand.reserve_key_start(_task_type text, _queue_key text)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'reserve_key_start_wrapper';

-- Revokes a start of errand.reserve_key_start.
create function errand.give_back_key_start(_task_type text, _queue_key text)
returns void
strict
language c
as 'MODULE_PATHNAME', 'give_back_key_start_wrapper';

-- Raises an error unless there is such a task type and the key is one that a task can have.
create function errand.check_key(_task_type text, _queue_key text)
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

-- Pauses a key: from the commit on, no task of this type and key starts before _until, or before queues.resume_key.
-- Tasks that run already are not affected. A pause that exists is replaced.
create function queues.pause_key(
    _task_type text,
    _queue_key text,
    _until timestamptz default null,
    _why text default null
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _end timestamptz := nullif(_until, 'infinity');
begin
    perform errand.check_key(_task_type, _queue_key);
    if _end <= clock_timestamp() then
        raise exception 'the pause would end at %, which is in the past', _end
            using errcode = 'invalid_parameter_value',
                  hint = 'Leave _until out to pause the key until queues.resume_key is called.';
    end if;

    insert into queues.paused_key as p (task_type, queue_key, paused_until, reason)
    values (_task_type, _queue_key, _end, _why)
    on conflict (task_type, (queue_key || '')) do update
    set paused_until = excluded.paused_until,
        reason = excluded.reason,
        paused_by = excluded.paused_by,
        paused_at = excluded.paused_at;

    if not exists (
        select 1
        from only queues.paused_key p
        where p.task_type = _task_type
            and p.queue_key || '' = _queue_key
            and p.paused_until is not distinct from _end
    ) then
        perform errand.refuse_unwritten('queues.paused_key', _inserted => true);
    end if;

    perform errand.announce(_end);
end;
$$;

-- Whether a key is paused now.
create function errand.is_key_paused(_task_type text, _queue_key text)
returns boolean
language sql
set search_path = pg_catalog, pg_temp
as $$
    select exists (
        select 1
        from only queues.paused_key p
        where p.task_type = _task_type
            and p.queue_key || '' = _queue_key
            and (p.paused_until is null or p.paused_until > clock_timestamp())
    );
$$;

-- Ends the pause of a key. Returns false if it is not paused.
create function queues.resume_key(_task_type text, _queue_key text)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _was_paused boolean;
begin
    perform errand.check_key(_task_type, _queue_key);
    _was_paused := errand.is_key_paused(_task_type, _queue_key);

    delete from only queues.paused_key p
    where p.task_type = _task_type
        and p.queue_key || '' = _queue_key;
    if errand.is_key_paused(_task_type, _queue_key) then
        perform errand.refuse_unwritten('queues.paused_key');
    end if;

    perform errand.announce_key(_task_type, _queue_key);
    return _was_paused;
end;
$$;

-- sql/59_lock_key.sql

-- How workers outside the database take a task with a queue key. They and the workers inside start none at the same time:
-- one outside locks the key before it counts the workers that show it, and one inside shows the key before it looks
-- whether the key is locked. Both read the rows last. Their plans use indexes only, also if they are made while the table is
-- short or was not analyzed.

-- The next tasks of the keys of these types that may start at _now, the first one of each key: keys that are not paused,
-- of which fewer tasks run than may, and whose rate lets another one start. Each key is found by a search of its own in
-- the index.
create function errand.free_keys(
    _task_types text[],
    _now timestamptz,
    out task_type text,
    out queue_key text,
    out priority integer,
    out scheduled_at timestamptz,
    out task_id bigint
)
returns setof record
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
as $$
#variable_conflict use_column
begin
    return query
    with recursive wanted as materialized (
        select
            d.task_type,
            d.max_running_per_key as max_running,
            hashtextextended(d.task_type, 0) as type_digest,
            errand.queue_origin() as origin
        from only queues.task_definition d
        where d.task_type = any (_task_types)
    ),
    key as (
        select w.*, first.queue_key, first.key_digest
        from wanted w
        cross join lateral (
            select t.queue_key, hashtextextended(t.queue_key, 0) as key_digest
            from only queues.task t
            where (t.origin, hashtextextended(t.task_type, 0)) >= (w.origin, w.type_digest)
                and (t.origin, hashtextextended(t.task_type, 0)) <= (w.origin, w.type_digest)
                and t.finished_at is null
                and t.queue_key is not null
            order by t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0)
            limit 1
        ) first
        union all
        select k.task_type, k.max_running, k.type_digest, k.origin, next.queue_key, next.key_digest
        from key k
        cross join lateral (
            select t.queue_key, hashtextextended(t.queue_key, 0) as key_digest
            from only queues.task t
            where (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                    > (k.origin, k.type_digest, k.key_digest)
                and (t.origin, hashtextextended(t.task_type, 0)) <= (k.origin, k.type_digest)
                and t.finished_at is null
                and t.queue_key is not null
            order by t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0)
            limit 1
        ) next
    )
    select k.task_type, k.queue_key, coalesce(next.priority, 0)::integer, next.scheduled_at, next.task_id
    from key k
    cross join lateral (
        select t.priority, t.scheduled_at, t.task_id, t.not_before
        from only queues.task t
        -- Conditions and order name all columns of the index task_keyed, so that no other index comes into question, by
        -- which tasks of other keys would be scanned.
        where (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                >= (k.origin, k.type_digest, k.key_digest)
            and (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                <= (k.origin, k.type_digest, k.key_digest)
            and t.finished_at is null
            and t.queue_key is not null
            -- If only one runs at a time, the first one keeps its turn also while it is deferred.
            and (k.max_running = 1 or not t.calling and (t.not_before is null or t.not_before <= _now))
        order by
            t.origin,
            hashtextextended(t.task_type, 0),
            hashtextextended(t.queue_key, 0),
            t.scheduled_at,
            t.task_id
        limit 1
    ) next
    where next.scheduled_at <= _now
        and (next.not_before is null or next.not_before <= _now)
        and not exists (
            select 1
            from only queues.paused_key p
            where p.task_type = k.task_type
                and p.queue_key || '' = k.queue_key
                and (p.paused_until is null or p.paused_until > _now)
        )
        and errand.workers_of_key(k.task_type, k.queue_key) + (
            select count(*)
            from only queues.task t
            where t.origin = k.origin
                and t.finished_at is null
                and t.queue_key is not null
                and (t.calling or t.leased)
                and (t.calling or t.not_before > _now)
                and hashtextextended(t.task_type, 0) = k.type_digest
                and hashtextextended(t.queue_key, 0) = k.key_digest
        ) < k.max_running
        and errand.has_key_start(k.task_type, k.queue_key);
end;
$$;

-- The number of tasks of a key that run outside the workers' processes: those between the steps of a provider call, and
-- those that are leased.
create function errand.count_busy_of_key(_task_type text, _queue_key text)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
as $$
    select count(*)
    from only queues.task t
    where t.origin = (select errand.queue_origin())
        and t.finished_at is null
        and t.queue_key is not null
        and (t.calling or t.leased)
        and (t.calling or t.not_before > clock_timestamp())
        and hashtextextended(t.task_type, 0) = hashtextextended(_task_type, 0)
        and hashtextextended(t.queue_key, 0) = hashtextextended(_queue_key, 0);
$$;

-- Locks the next task of a key. task_id is null if none may start, or if another session has locked the key.
create function errand.lock_next_of_key(
    _task_type text,
    _queue_key text,
    out task_id bigint,
    out was_leased boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
as $$
#variable_conflict use_column
declare
    _here bigint := errand.queue_origin();
    _most integer;
    _first bigint;
begin
    if not errand.try_key_lock(_task_type, _queue_key) then
        return;
    end if;

    select d.max_running_per_key
    into _most
    from only queues.task_definition d
    where d.task_type = _task_type;
    -- A worker that shows the key from now on finds it locked.
    if errand.workers_of_key(_task_type, _queue_key) + errand.count_busy_of_key(_task_type, _queue_key) >= _most
        or errand.is_key_paused(_task_type, _queue_key)
        or not errand.reserve_key_start(_task_type, _queue_key)
    then
        return;
    end if;

    -- Each statement sees what was committed before it. If only one task runs at a time, it is the first one or none.
    -- Otherwise workers inside may have locked the first ones.
    if _most = 1 then
        _first := (
            select t.task_id
            from only queues.task t
            where (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                    >= (_here, hashtextextended(_task_type, 0), hashtextextended(_queue_key, 0))
                and (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                    <= (_here, hashtextextended(_task_type, 0), hashtextextended(_queue_key, 0))
                and t.finished_at is null
                and t.queue_key is not null
            order by
                t.origin,
                hashtextextended(t.task_type, 0),
                hashtextextended(t.queue_key, 0),
                t.scheduled_at,
                t.task_id
            limit 1
        );

        select t.task_id, t.leased
        into task_id, was_leased
        from only queues.task t
        where t.task_id = _first
            and t.task_type = _task_type
            and t.queue_key = _queue_key
            and t.finished_at is null
            and not t.calling
            and t.scheduled_at <= clock_timestamp()
            and (t.not_before is null or t.not_before <= clock_timestamp())
            -- A task that follows another one with its unique key starts after that one's end.
            and not exists (
                select 1
                from only queues.task p
                where p.task_id = t.follows
                    and p.finished_at is null
            )
        for no key update skip locked;
    else
        select t.task_id, t.leased
        into task_id, was_leased
        from only queues.task t
        where (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                >= (_here, hashtextextended(_task_type, 0), hashtextextended(_queue_key, 0))
            and (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                <= (_here, hashtextextended(_task_type, 0), hashtextextended(_queue_key, 0))
            and t.finished_at is null
            and t.queue_key is not null
            and t.task_type = _task_type
            and t.queue_key = _queue_key
            and not t.calling
            and t.scheduled_at <= clock_timestamp()
            and (t.not_before is null or t.not_before <= clock_timestamp())
            and not exists (
                select 1
                from only queues.task p
                where p.task_id = t.follows
                    and p.finished_at is null
            )
        order by
            t.origin,
            hashtextextended(t.task_type, 0),
            hashtextextended(t.queue_key, 0),
            t.scheduled_at,
            t.task_id
        limit 1
        for no key update skip locked;
    end if;

    if task_id is null then
        perform errand.give_back_key_start(_task_type, _queue_key);
    end if;
end;
$$;

-- sql/59_lock_next.sql

-- How workers outside the database find their next task.

-- Locks the next task without a queue key of these types that is ready at _now: the first one of the highest priority, with
-- ageing of the highest effective priority, if it comes before a position (null: any). All are null if there is none.
create function errand.lock_next_plain(
    _task_types text[],
    _now timestamptz,
    _before_priority integer,
    _before_time timestamptz,
    _before_id bigint,
    out task_id bigint,
    out task_type text,
    out was_leased boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    _here bigint := errand.queue_origin();
    _priority integer := 32768;
    _below integer;
    _time timestamptz;
    _id bigint;
begin
    if exists (
        select 1
        from only queues.task_definition d
        where d.task_type = any (_task_types)
            and d.priority_ages_every is not null
    ) then
        select n.task_id, n.task_type, n.was_leased
        into task_id, task_type, was_leased
        from errand.lock_next_aged(_task_types, _now, _before_priority, _before_time, _before_id) n;
        return;
    end if;

    -- Each priority in use is found by one search in the index. Plain tasks have priority 0.
    loop
        _below := (
            select max(r.priority)
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority is not null
                and r.queue_key is null
                and r.priority < _priority
        );
        _priority := case when _priority > 0 then greatest(_below, 0) else _below end;
        exit when _priority is null or _priority < _before_priority;
        _time := case when _priority = _before_priority then _before_time else 'infinity' end;
        _id := case when _priority = _before_priority then _before_id else 9223372036854775807 end;

        if _priority = 0 then
            select r.task_id, r.task_type, r.leased
            into task_id, task_type, was_leased
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority is null
                and r.queue_key is null
                and r.task_type = any (_task_types)
                and r.scheduled_at <= _now
                and (r.scheduled_at, r.task_id) < (_time, _id)
                and (r.not_before is null or r.not_before <= _now)
                -- A task that follows another one with its unique key starts after that one's end.
                and not exists (
                    select 1
                    from only queues.task p
                    where p.task_id = r.follows
                        and p.finished_at is null
                )
            order by r.scheduled_at, r.task_id
            limit 1
            for no key update skip locked;
        else
            select r.task_id, r.task_type, r.leased
            into task_id, task_type, was_leased
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority = _priority
                and r.queue_key is null
                and r.task_type = any (_task_types)
                and r.scheduled_at <= _now
                and (r.scheduled_at, r.task_id) < (_time, _id)
                and (r.not_before is null or r.not_before <= _now)
                and not exists (
                    select 1
                    from only queues.task p
                    where p.task_id = r.follows
                        and p.finished_at is null
                )
            order by r.scheduled_at, r.task_id
            limit 1
            for no key update skip locked;
        end if;
        exit when found;
    end loop;
end;
$$;

-- Locks the next task of these types that is ready at _now: the first one of the highest priority, where the next task of a
-- queue key stands for its key. All are null if there is none.
create function errand.lock_next_ready(
    _task_types text[],
    _now timestamptz,
    out task_id bigint,
    out task_type text,
    out was_leased boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    _here bigint := errand.queue_origin();
    _key record;
begin
    -- An older snapshot would not show what others have started since.
    if current_setting('transaction_isolation') not in ('repeatable read', 'serializable')
        and exists (
            select 1
            from only queues.task t
            where t.origin = _here
                and t.finished_at is null
                and t.queue_key is not null
                and t.scheduled_at <= _now
        )
    then
        for _key in
            select k.*
            from errand.free_keys(_task_types, _now) k
            order by k.priority desc, k.scheduled_at, k.task_id
        loop
            select n.task_id, n.task_type, n.was_leased
            into task_id, task_type, was_leased
            from errand.lock_next_plain(_task_types, _now, _key.priority, _key.scheduled_at, _key.task_id) n;
            exit when task_id is not null;

            select n.task_id, _key.task_type, n.was_leased
            into task_id, task_type, was_leased
            from errand.lock_next_of_key(_key.task_type, _key.queue_key) n;
            exit when task_id is not null;
        end loop;
    end if;

    if task_id is null then
        select n.task_id, n.task_type, n.was_leased
        into task_id, task_type, was_leased
        from errand.lock_next_plain(_task_types, _now, null, null, null) n;
    end if;
end;
$$;

-- sql/60_outside.sql

-- Functions for workers outside the database. They compete with the workers inside.

-- Raises an error if a statement did not fail, but has not updated (or inserted) the row of this table. The error names
-- the triggers and rules that may be the cause.
create function errand.refuse_unwritten(_table regclass, _inserted boolean default false)
returns void
language c
as 'MODULE_PATHNAME', 'refuse_unwritten_wrapper';

-- Warns that a lease has ended before its task. The warning appears once for a database until the server restarts.
create function errand.tell_of_ended_lease(_task_id bigint)
returns void
strict
language c
as 'MODULE_PATHNAME', 'tell_of_ended_lease_wrapper';

-- Lets the commit announce what the end of this task lets start: the task that follows it, if it has a unique key, and the
-- next one of its queue key.
create function errand.announce_follower(_task_id bigint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _task record;
begin
    select t.task_type, t.unique_key, t.queue_key
    into _task
    from only queues.task t
    where t.task_id = _task_id
        and (t.unique_key is not null or t.queue_key is not null);
    if not found then
        return;
    end if;

    if _task.unique_key is not null then
        perform errand.announce(clock_timestamp());
        perform errand.announce_key(f.task_type, f.queue_key)
        from only queues.task f
        where f.unique_key = _task.unique_key
            and f.task_type = _task.task_type
            and f.follows = _task_id;
    end if;
    perform errand.announce_key(_task.task_type, _task.queue_key);
end;
$$;

-- Dequeues the next ready task of these types, the first one of the highest priority, with a lease. Returns one row, with
-- nulls if no task is ready. By default the types are db_function, email and sms, which every worker outside supports.
-- With pg_errand.lease_duration = 0 the task has succeeded as soon as it is dequeued.
create function queues.dequeue_next_available_task(
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
    _limited text[];
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
    returning t.task_id, t.task_type, t.payload, t.enqueued_at, t.scheduled_at, t.dequeued_at
    into task_id, task_type, payload, enqueued_at, scheduled_at, dequeued_at;

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

    if _lease > '0' then
        perform errand.announce(_leased_until);
    else
        perform errand.announce_follower(task_id);
    end if;
    if _was_leased then
        perform errand.tell_of_ended_lease(_next);
    end if;
end;
$$;

-- Ends a task, unless it has ended or is between the steps of a provider call.
create function errand.end_task(_task_id bigint, _status text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    update only queues.task
    set finished_at = clock_timestamp(),
        final_status = _status,
        leased = false,
        not_before = null
    where task_id = _task_id
        and finished_at is null
        and not calling;

    if exists (
        select 1
        from only queues.task t
        where t.task_id = _task_id
            and t.finished_at is null
            and not t.calling
    ) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    perform errand.announce_follower(_task_id);
end;
$$;

-- Ends a task as succeeded. Has no effect on a task that has ended or is between the steps of a provider call.
create function queues.complete_task(_task_id bigint)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform errand.end_task(_task_id, 'succeeded');
end;
$$;

-- Records an error of a task, or of no task (null). A task that has succeeded only because it was dequeued without a
-- lease becomes failed.
create function queues.append_error(task_id bigint, error_message text)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    _task queues.task;
    _message text := coalesce(append_error.error_message, '');
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

-- Records an error and ends the task as failed. If the task has ended already, only the error is recorded.
create function queues.fail_task(_task_id bigint, _error_message text)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform queues.append_error(_task_id, _error_message);

    perform errand.end_task(_task_id, 'failed');
end;
$$;

-- sql/70_cancel.sql

-- Interrupts the worker that runs this task. Returns false if no worker does.
create function errand.cancel_running(_task_id bigint)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'cancel_running_wrapper';

-- Requests that the worker _owner give up the call of this task. Returns false if that worker no longer exists, and
-- null if the request has to be repeated later.
create function errand.cancel_call(_owner bigint, _task_id bigint)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'cancel_call_wrapper';

-- Cancels a task. A waiting task never runs, unless the caller rolls back. A running task is interrupted immediately,
-- even if its handler catches all errors, and no further handler is invoked; the provider may have received a request
-- that is in flight. Returns false if the task has ended or does not exist.
create function queues.cancel(_task_id bigint)
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
begin
    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    loop
        select t.finished_at is not null, t.calling, c.owner
        into _finished, _calling, _owner
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

-- sql/75_adopt.sql

-- Lets the commit announce that there may be orphaned calls.
create function errand.announce_orphans()
returns void
language c
as 'MODULE_PATHNAME', 'announce_orphans_wrapper';

-- Adopts the unadopted tasks, which then run in this database, and returns their number. It is meant for the case that
-- the original database will not run them any more.
create function queues.adopt()
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _here bigint := errand.queue_origin();
    _unadopted bigint;
    _adopted bigint;
begin
    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    select count(*)
    into _unadopted
    from (
        select 1
        from only queues.task t
        where t.finished_at is null
            and t.origin <> _here
        for no key update
    ) t;

    -- There may be an unfinished task of the same unique key here already. Both run, but only one keeps the key.
    update only queues.task t
    set unique_key = null
    where t.finished_at is null
        and t.origin <> _here
        and t.unique_key is not null
        and exists (
            select 1
            from only queues.task o
            where o.unique_key = t.unique_key
                and o.task_type = t.task_type
                and o.finished_at is null
                and (o.origin = _here or o.origin < t.origin)
        );

    with adopted as (
        update only queues.task
        set origin = _here
        where finished_at is null
            and origin <> _here
        returning origin
    )
    select count(*)
    into _adopted
    from adopted a
    where a.origin = _here;

    if _adopted < _unadopted then
        perform errand.refuse_unwritten('queues.task');
    end if;

    perform errand.announce(clock_timestamp());
    perform errand.announce_orphans();
    return _adopted;
end;
$$;

-- sql/80_run_function.sql

-- Calls function_name(payload) with the privileges of the caller. The name is an optionally qualified and quoted
-- identifier: it is parsed as one, and quoted again before it becomes part of a statement.
create function internal.run_function(function_name text, payload jsonb)
returns jsonb
language plpgsql
security invoker
as $$
declare
    _name pg_catalog.text;
    _parts pg_catalog.text[];
    _result pg_catalog.jsonb;
begin
    select pg_catalog.string_agg(pg_catalog.quote_ident(part), '.' order by position), pg_catalog.array_agg(part order by position)
    into _name, _parts
    from pg_catalog.unnest(pg_catalog.parse_ident(function_name)) with ordinality as parts (part, position);

    -- If the name were that of a type, the statement below would be a cast.
    if pg_catalog.to_regtype(_name) is not null
        and not exists (
            select
            from pg_catalog.pg_proc p
            join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) p.pronamespace
            join pg_catalog.pg_type t on t.oid operator(pg_catalog.=) p.proargtypes[0]
            where p.proname operator(pg_catalog.=) _parts[pg_catalog.cardinality(_parts)]
                and case
                    when pg_catalog.cardinality(_parts) operator(pg_catalog.=) 1 then pg_catalog.pg_function_is_visible(p.oid)
                    else n.nspname operator(pg_catalog.=) _parts[pg_catalog.cardinality(_parts) operator(pg_catalog.-) 1]
                end
                and p.pronargs operator(pg_catalog.-) p.pronargdefaults operator(pg_catalog.<=) 1
                -- The argument is jsonb, a domain over it or a pseudo-type.
                and (
                    t.typtype operator(pg_catalog.=) 'p'
                    or t.oid operator(pg_catalog.=) 'pg_catalog.jsonb'::pg_catalog.regtype
                    or t.typbasetype operator(pg_catalog.=) 'pg_catalog.jsonb'::pg_catalog.regtype
                )
        )
    then
        raise exception '"%" is not a function', function_name
            using errcode = 'wrong_object_type', hint = 'Name a function that takes one jsonb argument.';
    end if;

    execute 'select ' operator(pg_catalog.||) _name operator(pg_catalog.||) '($1)::pg_catalog.jsonb'
    into _result
    using coalesce(payload, '{}');

    return coalesce(_result, '{}');
end;
$$;

-- Makes the extension depend on a schema that is not a member of it. pg_dump then creates the schema "internal" before
-- the extension, which otherwise would create it first.
create function errand.depend_on_schema(_schema regnamespace)
returns void
strict
language c
as 'MODULE_PATHNAME', 'depend_on_schema_wrapper';

select errand.depend_on_schema('internal');

-- sql/85_views.sql

-- Returns the live workers of this database, from shared memory. Views call functions with the privileges of the role
-- that reads them, so PUBLIC may execute this function; it requires SELECT on one of the views.
create function errand.worker_state(
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
language c
as 'MODULE_PATHNAME', 'worker_state_wrapper';

-- The live worker processes of this database.
create view queues.worker as
select
    w.pid,
    w.worker_number,
    w.state,
    w.task_id,
    w.task_type,
    w.handler,
    w.busy_since,
    w.in_flight,
    w.succeeded,
    w.failed,
    w.started_at,
    (
        select coalesce(t.priority, 0::smallint)
        from only queues.task t
        where t.task_id = w.task_id
    ) as priority,
    (
        select t.queue_key
        from only queues.task t
        where t.task_id = w.task_id
    ) as queue_key
from errand.worker_state() w;

comment on view queues.worker is 'Live worker processes of this database';

-- Tasks with their current status.
create view queues.task_status as
with workers as materialized (
    select w.owner, w.task_id, w.busy_since, w.recent, w.runs
    from errand.worker_state() w
),
-- Shared memory is read after the snapshot was taken. So a task that a worker has started since, and that is unfinished
-- in the snapshot, was running.
running as (
    select r.task_id, max(r.busy_since) as busy_since, max(r.runs) as runs
    from (
        select w.task_id, w.busy_since, w.runs
        from workers w
        union all
        select unnest(w.recent), null, 1
        from workers w
    ) r
    group by r.task_id
)
select
    t.task_id,
    t.task_type,
    case
        when t.finished_at is not null then t.final_status
        when running.task_id is not null then 'running'
        when t.calling and calling.task_id is not null then 'running'
        when t.leased and t.not_before > clock_timestamp() then 'running'
        when t.scheduled_at > clock_timestamp() then 'scheduled'
        else 'ready'
    end as status,
    least(
        t.attempts::bigint + case when t.calling then 0 else coalesce(running.runs, 0) end,
        2147483647
    )::integer as attempts,
    t.enqueued_at,
    t.scheduled_at,
    coalesce(running.busy_since, t.dequeued_at) as started_at,
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
    t.queue_key
from only queues.task t
left join running on running.task_id = t.task_id
    and t.finished_at is null
    and t.origin = (select errand.queue_origin())
left join (
    select c.task_id
    from only queues.call c
    join workers w on w.owner = c.owner
    where c.request is not null
) calling on calling.task_id = t.task_id and t.calling;

comment on view queues.task_status is 'Tasks with their status: scheduled, ready, running, succeeded, failed, cancelled';

-- Unadopted tasks, by the database from which they came: they do not run here until queues.adopt() is called.
create view queues.unadopted as
select
    t.origin,
    count(*) as tasks,
    min(t.enqueued_at) as first_enqueued_at,
    max(t.enqueued_at) as last_enqueued_at,
    min(t.scheduled_at) as first_scheduled_at
from only queues.task t
where t.finished_at is null
    and t.origin <> (select errand.queue_origin())
group by t.origin;

comment on view queues.unadopted is 'Tasks that came from another database and wait for queues.adopt(), by their origin';

-- sql/86_explain.sql

-- Says why a task has not started or not ended. It locks nothing and never waits, and works in transactions that only
-- read and on standbys. It is volatile, since what it reads in shared memory changes at any time.
create function queues.explain(
    _task_id bigint,
    out task_id bigint,
    out task_type text,
    out status text,
    out reason text,
    out explanation text,
    out until timestamptz,
    out blocking_task_id bigint,
    out blocking_pid integer,
    out hint text
)
returns setof record
volatile
strict
rows 1
language c
security definer
set search_path = pg_catalog, pg_temp
as 'MODULE_PATHNAME', 'explain_wrapper';

-- sql/88_comments.sql

-- The functions of schema "queues" and internal.run_function.
comment on function queues.enqueue(text, jsonb, timestamptz, text, text, interval, interval, integer, text) is 'Enqueues a task, due now or at a time; returns its id';
comment on function queues.enqueue_many(jsonb) is 'Enqueues the tasks of an array; returns their ids in order';
comment on function queues.enqueue_many(text, jsonb[], timestamptz[], text[], text, interval, interval, integer, text[]) is 'Enqueues a task for each payload; returns their ids in order';
comment on function queues.cancel(bigint) is 'Cancels a waiting or running task; false if it has ended';
comment on function queues.explain(bigint) is 'Says why a task has not started or not ended: the reason, until when, what is in the way, what to do';
comment on function queues.pause_key(text, text, timestamptz, text) is 'Pauses a queue key: none of its tasks starts';
comment on function queues.resume_key(text, text) is 'Ends the pause of a queue key; false if it was not paused';
comment on function queues.result(bigint) is 'The response of the provider of a task, or the error of its call; null while there is neither';
comment on function queues.http_post(text, jsonb, jsonb, timestamptz) is 'Enqueues a task of type http that sends a POST request; returns its id';
comment on function queues.http_get(text, jsonb, timestamptz) is 'Enqueues a task of type http that sends a GET request; returns its id';
comment on function queues.grant_enqueue(text, regrole) is 'Lets a role enqueue tasks of a type';
comment on function queues.revoke_enqueue(text, regrole) is 'Reverses queues.grant_enqueue';
comment on function queues.adopt() is 'Adopts the tasks that came from another database; returns their number';
comment on function queues.restore_built_in() is 'Restores built-in rows and the state of triggers; returns what was missing';
comment on function queues.dequeue_next_available_task(text[]) is 'For workers outside: dequeues the next ready task, with a lease; nulls if there is none';
comment on function queues.complete_task(bigint) is 'For workers outside: ends a task as succeeded';
comment on function queues.fail_task(bigint, text) is 'For workers outside: records an error and ends a task as failed';
comment on function queues.append_error(bigint, text) is 'For workers outside: records an error of a task, or of no task';
comment on function internal.run_function(text, jsonb) is 'Calls the function of that name with a payload, with the privileges of the caller';

-- The functions of schema "errand".
comment on function errand.preloaded() is 'Whether the library is preloaded, so that workers can start';
comment on function errand.place() is 'Where this session runs: server, database and data directory';
comment on function errand.queue_origin() is 'The origin of tasks that are enqueued in this database';
comment on function errand.depend_on_schema(regnamespace) is 'Has the extension depend on a schema, for the order of dumps';
comment on function errand.announce(timestamptz) is 'Has the commit announce that a task becomes ready at a time';
comment on function errand.announce_follower(bigint) is 'Has the commit announce what the end of a task lets start';
comment on function errand.announce_key(text, text) is 'Has the commit announce that a task of a queue key may start';
comment on function errand.try_key_lock(text, text) is 'Locks a queue key until the transaction ends';
comment on function errand.workers_of_key(text, text) is 'The number of workers that run a task of a queue key, or are about to';
comment on function errand.has_key_start(text, text) is 'Whether the rate of a queue key lets a task start';
comment on function errand.reserve_key_start(text, text) is 'Counts the start of a task of a queue key, within its rate';
comment on function errand.give_back_key_start(text, text) is 'Revokes the start of a task of a queue key';
comment on function errand.check_key(text, text) is 'Raises an error unless a task can have a queue key';
comment on function errand.is_key_paused(text, text) is 'Whether a queue key is paused';
comment on function errand.free_keys(text[], timestamptz) is 'The next task of each queue key that has one which may start';
comment on function errand.count_busy_of_key(text, text) is 'The number of tasks of a queue key that run outside the processes of workers';
comment on function errand.lock_next_of_key(text, text) is 'Locks the next task of a queue key';
comment on function errand.lock_next_plain(text[], timestamptz, integer, timestamptz, bigint) is 'Locks the next ready task without a queue key of some types';
comment on function errand.lock_next_ready(text[], timestamptz) is 'Locks the next ready task of some types';
comment on function errand.lock_next_aged(text[], timestamptz, integer, timestamptz, bigint) is 'Locks the next ready task of some types, of which some have an order of their own';
comment on function errand.announce_orphans() is 'Has the commit announce that there may be orphaned calls';
comment on function errand.grantee_in(cstring) is 'Input function of the type queues.grantee';
comment on function errand.grantee_out(queues.grantee) is 'Output function of the type queues.grantee';
comment on function errand.check_provider(jsonb) is 'Raises an error if a row of queues.provider is not valid';
comment on function errand.check_serves(text, jsonb) is 'Raises an error if tasks of a type cannot be sent to a provider';
comment on function errand.check_start_limit(text, text, double precision) is 'Raises an error if a limit of a task type is not valid';
comment on function errand.refuse_in_use(text, text) is 'Raises an error if a task type names a provider';
comment on function errand.refuse_unwritten(regclass, boolean) is 'Raises an error that names what suppressed the write of a row';
comment on function errand.reserve_start(text, bigint) is 'Reserves the start of a task for a worker outside, within the limits of its type';
comment on function errand.has_start(text, bigint) is 'Whether the limits of a task type let a worker outside start a task';
comment on function errand.count_leases(text) is 'The number of leased tasks of a type';
comment on function errand.limited_types(text[]) is 'Those of these task types that have limits';
comment on function errand.may_start(text) is 'Whether a worker outside may dequeue a task of a limited type';
comment on function errand.begin_start(text) is 'Reserves the start of a task of a limited type for a worker outside';
comment on function errand.end_task(bigint, text) is 'Ends a task of a worker outside';
comment on function errand.tell_of_ended_lease(bigint) is 'Warns once that a lease has ended before its task';
comment on function errand.cancel_running(bigint) is 'Interrupts the worker that runs a task';
comment on function errand.cancel_call(bigint, bigint) is 'Has a worker give up the call of a task';
comment on function errand.worker_state() is 'The live workers of this database, from shared memory';
comment on function errand.replicates() is 'Whether this process applies replicated changes';
comment on function errand.restore_triggers() is 'Sets the triggers of the extension to ENABLE ALWAYS; returns those that were not';
comment on function errand.task_before_write() is 'Trigger: checks a task, and has the commit wake a worker';
comment on function errand.task_after_delete() is 'Trigger: removes what belongs to deleted tasks';
comment on function errand.task_after_truncate() is 'Trigger: removes what belongs to tasks, after TRUNCATE';
comment on function errand.provider_before_write() is 'Trigger: lets only superusers make a provider trusted or built-in';
comment on function errand.provider_before_write_checked() is 'Trigger: checks a provider, with the privileges of the owner';
comment on function errand.provider_before_delete() is 'Trigger: refuses to delete a provider that is built-in or in use';
comment on function errand.task_definition_before_write() is 'Trigger: lets only superusers make a task type built-in';
comment on function errand.task_definition_before_write_checked() is 'Trigger: checks a task type, with the privileges of the owner';
comment on function errand.task_definition_before_delete() is 'Trigger: refuses to delete a built-in task type';
comment on function errand.task_definitions_after_change() is 'Trigger: has all processes read task types and providers again';
comment on function errand.refuse_emptying() is 'Trigger: refuses to remove all rows of a table on which every task depends';

-- sql/90_rights.sql

-- Revokes all privileges that ALTER DEFAULT PRIVILEGES has granted, so that only the owner has any.
do $$
declare
    _revoke text;
begin
    for _revoke in
        select distinct format(
            'revoke all on %s %s from %s',
            o.kind, o.name, case when a.grantee = 0 then 'public' else a.grantee::regrole::text end
        )
        from pg_extension e
        join pg_depend d on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid and d.deptype = 'e'
        cross join lateral (
            select 'table' as kind, c.oid::regclass::text as name, c.relowner as owner, c.relacl as acl
            from pg_class c
            where d.classid = 'pg_class'::regclass and c.oid = d.objid and c.relkind <> 'c'
            union all
            select 'function', p.oid::regprocedure::text, p.proowner,
                coalesce(p.proacl, acldefault('f', p.proowner))
            from pg_proc p
            where d.classid = 'pg_proc'::regclass and p.oid = d.objid
            union all
            select 'schema', quote_ident(n.nspname), n.nspowner, n.nspacl
            from pg_namespace n
            where d.classid = 'pg_namespace'::regclass and n.oid = d.objid
            union all
            select 'type', t.oid::regtype::text, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner))
            from pg_type t
            where d.classid = 'pg_type'::regclass and t.oid = d.objid and t.typtype = 'b' and t.typelem = 0
        ) o
        cross join lateral aclexplode(o.acl) a
        where e.extname = 'pg_errand'
            and a.grantee <> o.owner
    loop
        execute _revoke;
    end loop;
end;
$$;

-- The default of a column and the views call these functions with the privileges of the role that uses them. They
-- cannot be called by name without USAGE on the schema.
grant execute on function errand.queue_origin(), errand.worker_state() to public;

-- The role of the workers may enqueue tasks; users grant it everything else. The role "errand_worker" is created even if
-- pg_errand.role names another one, since roles of users may be members of it.
do $$
declare
    _usual constant name := 'errand_worker';
    _comment constant text := 'pg_errand: the role of the workers';
    _configured constant name := coalesce(nullif(current_setting('pg_errand.role', true), ''), _usual);
    _role name;
    -- Up to PostgreSQL 16, background workers can connect only as roles that may log in.
    _login text := case when current_setting('server_version_num')::integer < 170000 then 'login' else 'nologin' end;
begin
    for _role in
        select _usual
        union
        select _configured
    loop
        if not exists (select 1 from pg_roles r where r.rolname = _role) then
            begin
                execute format('create role %I %s', _role, _login);
                execute format('comment on role %I is %L', _role, _comment);
            exception when unique_violation or duplicate_object then
                -- Another database has created the role at the same time.
                null;
            end;
        elsif _role = _usual
            and not exists (
                select 1
                from pg_roles r
                join pg_shdescription d on d.objoid = r.oid
                where r.rolname = _role
                    and d.description = _comment
            )
        then
            if _configured = _usual
                and exists (select 1 from pg_roles r where r.rolname = _role and r.rolsuper)
            then
                raise exception 'role "%" already exists and is a superuser', _role
                    using errcode = 'invalid_role_specification',
                          detail = 'Workers connect as this role, so handlers would run with the privileges of a superuser.',
                          hint = format('Run: ALTER ROLE %I NOSUPERUSER; or set pg_errand.role to another role.', _role);
            end if;
            -- Notices of an extension's script are not displayed.
            if _configured <> _usual then
                raise warning 'role "%" already exists, and is not granted anything', _role
                    using hint = format('Workers connect as role "%s", which pg_errand.role names.', _configured);
                continue;
            end if;
            raise warning 'role "%" already exists, workers connect as this role', _role
                using hint = 'If the role has another purpose, set pg_errand.role to a role of another name.';
        end if;

        execute format('grant usage on schema queues, internal to %I', _role);
        execute format('grant execute on function queues.enqueue to %I', _role);
        execute format('grant execute on function queues.enqueue_many(jsonb) to %I', _role);
        execute format(
            'grant execute on function queues.enqueue_many(text, jsonb[], timestamptz[], text[], text, interval, interval, integer, text[]) to %I',
            _role
        );
        execute format('grant execute on function internal.run_function(text, jsonb) to %I', _role);
    end loop;
end;
$$;

-- sql/99_ready.sql

-- Warns if no worker can start.
do $$
begin
    if not errand.preloaded() then
        raise warning 'pg_errand is installed, but no worker can start: the library is not preloaded'
            using hint = 'Add pg_errand to shared_preload_libraries in postgresql.conf and restart the server.';
    end if;
end;
$$;

