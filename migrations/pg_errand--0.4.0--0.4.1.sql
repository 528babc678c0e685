-- 0.4.1: what corrupted, doubled, lost, or let someone in.

set local search_path = pg_catalog, pg_temp;

-- The members of the extension before this script, which its end leaves alone.
select set_config('errand_upgrade.members', string_agg(format('%s %s', d.classid, d.objid), ','), true)
from pg_depend d
join pg_extension e on e.oid = d.refobjid
where d.refclassid = 'pg_extension'::regclass
    and d.deptype = 'e'
    and e.extname = 'pg_errand';

-- == Tables: src/pg/table.rs ==

-- True in a process that applies what is replicated: to refuse a change there would end the subscription.
create function queues.replicates()
returns boolean
stable
language sql
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(bool_or(starts_with(a.backend_type, 'logical replication')), false)
    from pg_stat_get_activity(pg_backend_pid()) a;
$$;

-- Raises the error that a row of this table was not updated (or inserted) although no statement failed. It names
-- the triggers and rules that may be the reason.
create function queues.refuse_unwritten(_table regclass, _inserted boolean default false)
returns void
language c
as 'MODULE_PATHNAME', 'refuse_unwritten_wrapper';

-- Ends a task, unless it has ended or a worker inside waits for its provider call.
create function queues.end_task(_task_id bigint, _status text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    update only queues.task
    set finished_at = clock_timestamp(),
        final_status = _status,
        leased = false,
        held_until = null
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
        perform queues.refuse_unwritten('queues.task');
    end if;
end;
$$;

-- Ends a task as succeeded. No effect on one that has ended, or whose provider call a worker
-- inside is waiting for.
create or replace function queues.complete_task(_task_id bigint)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform queues.end_task(_task_id, 'succeeded');
end;
$$;

-- Records an error, of a task or (null) of none in particular. A task that counts as finished only
-- because it was handed out without a lease has failed by that.
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
begin
    if octet_length(_message) > 65536 then
        _message := left(_message, 16384)
            || format('... (truncated, %s bytes in all)', octet_length(_message));
    end if;

    -- Reading first and changing then would deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    select *
    into _task
    from only queues.task t
    where t.task_id = append_error.task_id
    for key share;

    insert into queues.error (task_id, error_message, task_type, attempt)
    values (_task.task_id, _message, _task.task_type, _task.attempts);

    if not found then
        perform queues.refuse_unwritten('queues.error', _inserted => true);
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
        perform queues.refuse_unwritten('queues.task');
    end if;

    return '{"success": true}';
end;
$$;

-- Records an error and ends the task as failed. On a task that has ended only the error is recorded.
create or replace function queues.fail_task(_task_id bigint, _error_message text)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform queues.append_error(_task_id, _error_message);

    perform queues.end_task(_task_id, 'failed');
end;
$$;

-- Cancels a task. A waiting one never runs (unless the caller rolls back); a running one is
-- interrupted at once, whatever its handler catches. No further handler of it is called; a
-- provider call in flight may have been made. False for a task that has ended or does not exist.
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
begin
    -- Before anything is read: see the worker's claims.
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

        if queues.cancel_running(_task_id) then
            return true;
        end if;

        if _calling then
            -- Somebody may have removed the call's row.
            _told := case when _owner is null then false else queues.cancel_call(_owner, _task_id) end;
            if _told then
                -- Unless it has ended otherwise just before.
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

        -- The row is free: nobody runs it.
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
                held_until = null
            where task_id = _task_id;
            if exists (select 1 from only queues.task t where t.task_id = _task_id and t.finished_at is null) then
                perform queues.refuse_unwritten('queues.task');
            end if;

            update only queues.call
            set request = null
            where task_id = _task_id;
            if exists (select 1 from only queues.call c where c.task_id = _task_id and c.request is not null) then
                perform queues.refuse_unwritten('queues.call');
            end if;
            return true;
        end if;

        -- It starts or ends at this very moment, or another session holds its row.
        perform pg_sleep(0.002);
    end loop;
end;
$$;

-- Makes the tasks that came from another database this one's own, so that they are run here. Returns
-- how many. To be called when the original will not run them any more.
create or replace function queues.adopt()
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _here bigint := queues.here();
    _unadopted bigint;
    _adopted bigint;
begin
    -- Reading first and changing then would deadlock with REINDEX.
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
        perform queues.refuse_unwritten('queues.task');
    end if;

    perform queues.announce(clock_timestamp());
    perform queues.announce_orphans();
    return _adopted;
end;
$$;


-- == Rights of roles ==

-- Both functions write with the rights of the tables' owner. Triggers of other tables that follow (a user's foreign
-- key that cascades) run with the rights of the role that removes the tasks.
create or replace function queues.task_after_delete()
returns trigger
language c
as 'MODULE_PATHNAME', 'task_after_delete';

create or replace function queues.task_after_truncate()
returns trigger
language c
as 'MODULE_PATHNAME', 'task_after_truncate';

drop function queues.forget_runs();

-- Warn about triggers that others have created: from now on only the owner of the extension can create them.
do $$
declare
    _trigger record;
begin
    for _trigger in
        select t.tgname, t.tgrelid::regclass as place, t.tgfoid::regprocedure as function
        from pg_trigger t
        where not t.tgisinternal
            and t.tgrelid in (
                select d.objid
                from pg_depend d
                join pg_extension e on e.oid = d.refobjid and e.extname = 'pg_errand'
                where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_extension'::regclass
            )
            and not exists (
                select
                from pg_depend d
                join pg_extension e on e.oid = d.refobjid and e.extname = 'pg_errand'
                where d.classid = 'pg_proc'::regclass
                    and d.objid = t.tgfoid
                    and d.refclassid = 'pg_extension'::regclass
            )
    loop
        raise warning 'trigger % of % is not part of the extension and runs with the rights of its owner',
            quote_ident(_trigger.tgname), _trigger.place
            using detail = format('It calls %s.', _trigger.function),
                  hint = 'Drop it unless you have made it.';
    end loop;
end;
$$;

-- Checks and announces a task again when its type, payload, time or origin is changed.
create or replace trigger task_before_update
    before update of task_type, payload, scheduled_at, origin on queues.task
    for each row
    execute function queues.task_before_write();

alter table queues.task enable always trigger task_before_update;

-- Security invoker: only a superuser makes a provider trusted or built in.
create or replace function queues.provider_before_write()
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

create or replace function queues.provider_before_write_checked()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform queues.check_provider(to_jsonb(new));
    if least(new.timeout, new.keys_kept_for, new.max_wait, new.break_for) < '0' or new.timeout = '0' then
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
        perform queues.check_serves(k.name, to_jsonb(new))
        from only queues.task_kind k
        where k.provider = new.name;
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

-- Security invoker, as for providers: only a superuser makes a task type built in.
create or replace function queues.task_kind_before_write()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if not (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user) then
        new.built_in := tg_op = 'UPDATE' and old.built_in;
    elsif tg_op = 'INSERT' and new.built_in then
        delete from only queues.task_kind k
        where k.name = new.name
            and k.built_in;
    end if;
    return new;
end;
$$;

create function queues.task_kind_before_write_checked()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if new.name !~ '^[a-z][a-z0-9_.-]{0,62}$' then
        raise exception 'task type "%" is no proper name', new.name
            using errcode = 'invalid_parameter_value',
                  hint = 'Use up to 63 lower case letters, digits, "_", "." and "-", beginning with a letter.';
    end if;
    if new.processor not in ('call', 'db_function') then
        raise exception 'there is no processor "%"', new.processor
            using errcode = 'invalid_parameter_value',
                  hint = 'Use call or db_function.';
    end if;
    if new.processor = 'call' and new.provider is null and new.provider_setting is null then
        raise exception 'task type "%" needs a provider', new.name
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
        and (new.name, new.processor) <> (old.name, old.processor)
        and not queues.replicates()
    then
        raise exception 'task type "%" is built in: neither its name nor its processor can be changed', old.name
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
        raise warning 'task type "%" names provider "%", which does not exist', new.name, new.provider
            using hint = 'Insert it into queues.provider; until then such tasks are refused.';
    end if;
    if tg_op = 'INSERT' or new.provider is distinct from old.provider then
        perform queues.check_serves(new.name, to_jsonb(p))
        from only queues.provider p
        where p.name = new.provider;
    end if;
    return new;
end;
$$;

create trigger task_kind_before_write_checked
    before insert or update on queues.task_kind
    for each row
    execute function queues.task_kind_before_write_checked();

alter table queues.provider enable always trigger provider_before_write;
alter table queues.task_kind enable always trigger task_kind_before_write;

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

alter table queues.task_kind
    alter column granted_to drop default,
    alter column granted_to type queues.grantee[] using granted_to::queues.grantee[],
    alter column granted_to set default '{}';

-- Leave roles out that do not exist: the trigger does it.
update queues.task_kind
set granted_to = granted_to;

-- Lets a role enqueue tasks of a type. A notice names the privileges that it needs besides.
create or replace function queues.allow(_task_type text, _role regrole)
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

    update only queues.task_kind k
    set granted_to = array(
        select g.grantee
        from unnest(k.granted_to) as g (grantee)
        where g.grantee::text <> _name
        union all
        select _name::text::queues.grantee
    )
    where k.name = _task_type;
    if not found then
        raise exception 'unknown task type "%"', _task_type
            using errcode = 'invalid_parameter_value',
                  hint = 'Known task types are the rows of queues.task_kind.';
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
create or replace function queues.disallow(_task_type text, _role regrole)
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

    update only queues.task_kind k
    set granted_to = array(
        select g.grantee
        from unnest(k.granted_to) as g (grantee)
        where g.grantee::text <> _name
    )
    where k.name = _task_type;
end;
$$;


-- == Requests ==

-- A key of the user's own need not be a UUID.
alter table queues.call alter column idempotency_key type text using idempotency_key::text;

-- == Tables and copies ==

-- What tasks cannot do without: the row of queues.home, the task types and providers that come with the extension, and
-- the triggers. None of it can be removed by mistake, and all of it can be restored.

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
    _task_type text := (select min(k.name) from only queues.task_kind k where k.provider = _provider);
begin
    if _task_type is not null and not queues.replicates() then
        raise exception 'cannot % provider "%": task type "%" names it', _to_do, _provider, _task_type
            using errcode = 'dependent_objects_still_exist',
                  hint = 'Have the task type name another provider, or delete it, first.';
    end if;
end;
$$;

-- Refuses to empty a table.
create function queues.refuse_emptying()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if queues.replicates() then
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
    before delete or truncate on queues.home
    for each statement
    execute function queues.refuse_emptying();

create trigger provider_before_emptying
    before truncate on queues.provider
    for each statement
    execute function queues.refuse_emptying();

create trigger task_kind_before_emptying
    before truncate on queues.task_kind
    for each statement
    execute function queues.refuse_emptying();

-- Refuses to delete a task type that is built in. One that is deleted by a trigger is replaced: see
-- queues.task_kind_before_write.
create function queues.task_kind_before_delete()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if old.built_in and pg_trigger_depth() = 1 and not queues.replicates() then
        raise exception 'cannot delete task type "%": it is built in', old.name
            using errcode = 'dependent_objects_still_exist',
                  hint = format('To have nobody enqueue such tasks, run: UPDATE queues.task_kind SET granted_to = ''{}'' WHERE name = %L;', old.name);
    end if;
    return old;
end;
$$;

create trigger task_kind_before_delete
    before delete on queues.task_kind
    for each row
    execute function queues.task_kind_before_delete();

-- Refuses to delete a provider that is built in, or that a task type names.
create function queues.provider_before_delete()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if pg_trigger_depth() > 1 or queues.replicates() then
        return old;
    end if;
    if old.built_in then
        raise exception 'cannot delete provider "%": it is built in', old.name
            using errcode = 'dependent_objects_still_exist',
                  hint = 'Leave it; without a task type that names it, nothing is sent to it.';
    end if;
    perform queues.refuse_in_use(old.name, 'delete');
    return old;
end;
$$;

create trigger provider_before_delete
    before delete on queues.provider
    for each row
    execute function queues.provider_before_delete();

-- Sets the extension's triggers to ENABLE ALWAYS, and returns which were not. So replicated rows are checked and wake
-- workers, too, and a role that may set session_replication_role gets no further rights by it. ALTER TABLE … ENABLE
-- TRIGGER ALL, which pg_restore --disable-triggers runs, is followed by this.
create function queues.restore_triggers()
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

-- Restores what the extension cannot do without, and returns what was missing: the row of queues.home, the task types
-- and providers that are built in, and how triggers are enabled. Rows of users, and what they have changed in rows that
-- are built in (limits, grants …), are left alone.
create function queues.restore_built_in()
returns setof text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _name text;
begin
    if not (select r.rolsuper from pg_roles r where r.rolname = current_user) then
        raise exception 'permission denied to restore what is built in'
            using errcode = 'insufficient_privilege',
                  hint = 'Only a superuser can do that.';
    end if;

    return query select queues.restore_triggers();

    if not exists (select 1 from only queues.home) then
        insert into queues.home (origin, system, database, directory)
        select queues.here(), place.system, place.database, place.directory
        from queues.place() place;
        return query select 'queues.home'::text;
    end if;

    for _name in
        -- Any URL that pg_errand.http_allowed_hosts allows, so the row http is not trusted.
        insert into queues.provider (name, interface, trusted, built_in)
        select wanted.name, wanted.name, wanted.name <> 'http', true
        from unnest('{resend,simulated,smtp,twilio,http}'::text[]) as wanted (name)
        where not exists (select 1 from only queues.provider p where p.name = wanted.name)
        returning name
    loop
        return query select format('provider %s', _name);
    end loop;

    for _name in
        insert into queues.task_kind (name, processor, provider, provider_setting, granted_to, built_in)
        select wanted.*, true
        from (
            values
                ('db_function', 'db_function', null, null, '{public}'::queues.grantee[]),
                ('email', 'call', null, 'pg_errand.email_provider', '{public}'),
                ('sms', 'call', null, 'pg_errand.sms_provider', '{public}'),
                ('http', 'call', 'http', null, '{}')
        ) as wanted (name, processor, provider, provider_setting, granted_to)
        where not exists (select 1 from only queues.task_kind k where k.name = wanted.name)
        returning name
    loop
        return query select format('task type %s', _name);
    end loop;

    -- Tasks may have been enqueued or come in meanwhile that nobody was told of.
    perform queues.announce(clock_timestamp());
end;
$$;

-- Those of queues.task, and of new functions, were not all enabled ALWAYS.
select queues.restore_triggers();

-- Whom users have allowed to execute the function of the old signature may execute the new one: see the end of this
-- script. What ALTER DEFAULT PRIVILEGES had granted when the extension was created is in pg_init_privs.
select set_config(
    'errand_upgrade.dequeue_grants',
    string_agg(
        format(
            'grant execute on function queues.dequeue_next_available_task(text[]) to %s%s',
            case when a.grantee = 0 then 'public' else a.grantee::regrole::text end,
            case when a.is_grantable then ' with grant option' end
        ),
        '; '
    ),
    true
)
from pg_proc p
cross join lateral aclexplode(p.proacl) a
where p.oid = 'queues.dequeue_next_available_task()'::regprocedure
    and a.grantee <> p.proowner
    and not exists (
        select
        from pg_init_privs i
        cross join lateral aclexplode(i.initprivs) initial
        where i.classoid = 'pg_proc'::regclass
            and i.objoid = p.oid
            and i.objsubid = 0
            and (initial.grantee, initial.is_grantable) = (a.grantee, a.is_grantable)
    );

drop function queues.dequeue_next_available_task();

-- Says once that the lease of a task has ended, and nobody has ended the task.
create function queues.tell_of_ended_lease(_task_id bigint)
returns void
strict
language c
as 'MODULE_PATHNAME', 'tell_of_ended_lease_wrapper';

-- Hands out the next ready task of these types with a lease: one row, all null when nothing is ready. null:
-- db_function, email and sms, which are what every worker outside knows. With pg_errand.lease_duration = 0 the task
-- counts as finished by that.
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
    _here bigint := queues.here();
    _next bigint;
    _was_leased boolean;
    _unknown text;
begin
    if _task_types is not null then
        select min(wanted.name)
        into _unknown
        from unnest(_task_types) as wanted (name)
        where not exists (select 1 from only queues.task_kind k where k.name = wanted.name);
        if _unknown is not null then
            raise exception 'unknown task type "%"', _unknown
                using errcode = 'invalid_parameter_value',
                      hint = 'Known task types are the rows of queues.task_kind.';
        end if;
    end if;

    -- Reading first and changing then would deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;
    -- Not in the condition: a time that may change from row to row does not end the scan of the index.
    _now := clock_timestamp();

    select r.task_id, r.leased
    into _next, _was_leased
    from only queues.task r
    where r.origin = _here
        and r.finished_at is null
        and not r.calling
        and r.task_type = any (coalesce(_task_types, '{db_function,email,sms}'))
        and r.scheduled_at <= _now
        and (r.held_until is null or r.held_until <= _now)
    order by r.scheduled_at, r.task_id
    limit 1
    for no key update skip locked;

    if not found then
        return;
    end if;

    -- The lease begins when the row is locked, and not before the wait for the table.
    _now := clock_timestamp();
    _leased_until := _now + _lease;

    update only queues.task t
    set dequeued_at = _now,
        attempts = least(t.attempts, 2147483646) + 1,
        leased = true,
        held_until = case when _lease > '0' then _leased_until end,
        finished_at = case when _lease = '0' then _now end,
        final_status = case when _lease = '0' then 'succeeded' end
    where t.task_id = _next
    returning t.task_id, t.task_type, t.payload, t.enqueued_at, t.scheduled_at, t.dequeued_at
    into task_id, task_type, payload, enqueued_at, scheduled_at, dequeued_at;

    -- Without its lease or end, the task would be handed out again.
    if exists (
        select 1
        from only queues.task t
        where t.task_id = _next
            and t.finished_at is null
            and coalesce(t.held_until, '-infinity') < least(_leased_until, clock_timestamp())
    ) then
        perform queues.refuse_unwritten('queues.task');
    end if;

    if _lease > '0' then
        perform queues.announce(_leased_until);
    end if;
    if _was_leased then
        perform queues.tell_of_ended_lease(_next);
    end if;
end;
$$;

-- What a provider answered, as the success handler is given it; for a call that failed
-- {"error": …} and, if there was one, the answer. Null while there is nothing, or never was a call.
create or replace function queues.result(task_id bigint)
returns jsonb
stable
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(
        c.answer,
        jsonb_build_object('error', c.failure -> 'message')
            || case jsonb_typeof(c.failure -> 'answer') when 'object' then c.failure -> 'answer' else '{}' end
    )
    from only queues.call c
    where c.task_id = result.task_id
        and c.answered_at is not null;
$$;

-- A row per task with its status as of now.
create or replace view queues.task_status as
with workers as materialized (
    select w.owner, w.task_id, w.busy_since, w.recent, w.runs
    from internal.worker_state() w
),
-- The workers are asked after the snapshot was taken: a task that they have had since, and that the
-- snapshot shows as unfinished, was running.
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
        when t.leased and t.held_until > clock_timestamp() then 'running'
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
    -- It came from another database, and waits for queues.adopt().
    t.finished_at is null and t.origin <> (select internal.queue_origin()) as held
from only queues.task t
left join running on running.task_id = t.task_id
    and t.finished_at is null
    and t.origin = (select internal.queue_origin())
left join (
    select c.task_id
    from only queues.call c
    join workers w on w.owner = c.owner
    where c.request is not null
) calling on calling.task_id = t.task_id and t.calling;

-- Tasks that came from another database with a copy of it, and are not run here until
-- queues.adopt(): a row for each database they came from.
create or replace view queues.held as
select
    t.origin,
    count(*) as tasks,
    min(t.enqueued_at) as first_enqueued_at,
    max(t.enqueued_at) as last_enqueued_at,
    min(t.scheduled_at) as first_scheduled_at
from only queues.task t
where t.finished_at is null
    and t.origin <> (select internal.queue_origin())
group by t.origin;

-- == Handlers ==

-- Calls function_name(payload) with the caller's rights. The name is an optionally qualified,
-- optionally quoted identifier; it is resolved as such and never becomes SQL text of its own.
create or replace function internal.run_function(function_name text, payload jsonb)
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

    -- With the name of a type, the statement below would be a cast.
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
                -- jsonb, or what takes any type
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

-- What \df+ shows of each function. First those for users, then those that the extension needs for itself.
comment on function queues.enqueue(text, jsonb, timestamptz) is 'Enqueues a task, due now or at a time; returns its number';
comment on function queues.cancel(bigint) is 'Cancels a task that waits or runs; false if it has ended';
comment on function queues.result(bigint) is 'What the provider of a task responded, or the error of the call; null while there is neither';
comment on function queues.http_post(text, jsonb, jsonb, timestamptz) is 'Enqueues a POST request of type http; returns the number of the task';
comment on function queues.http_get(text, jsonb, timestamptz) is 'Enqueues a GET request of type http; returns the number of the task';
comment on function queues.allow(text, regrole) is 'Lets a role enqueue tasks of a type';
comment on function queues.disallow(text, regrole) is 'Takes back what queues.allow has granted';
comment on function queues.adopt() is 'Makes the tasks that came from another database this one''s own; returns their number';
comment on function queues.restore_built_in() is 'Restores built-in rows, and how triggers are enabled; returns what was missing';
comment on function queues.dequeue_next_available_task(text[]) is 'For workers outside: the next task, with a lease; nulls if none is ready';
comment on function queues.complete_task(bigint) is 'For workers outside: ends a task as succeeded';
comment on function queues.fail_task(bigint, text) is 'For workers outside: records an error and ends a task as failed';
comment on function queues.append_error(bigint, text) is 'For workers outside: records an error of a task, or of none';
comment on function internal.run_function(text, jsonb) is 'Calls a function of that name with a payload, with the rights of the caller';

comment on function queues.preloaded() is 'Whether the library is in shared_preload_libraries, so that workers can start';
comment on function queues.place() is 'What tells this database from others: server, database, data directory';
comment on function queues.here() is 'The same as internal.queue_origin, for functions of this schema';
comment on function internal.queue_origin() is 'The origin that tasks of this database carry';
comment on function queues.task_before_write() is 'Trigger: checks a task, and has the commit wake a worker';
comment on function queues.task_after_delete() is 'Trigger: removes what belongs to deleted tasks';
comment on function queues.task_after_truncate() is 'Trigger: removes what belongs to tasks, after TRUNCATE';
comment on function queues.announce(timestamptz) is 'Tells the workers that a task falls due at a time';
comment on function queues.announce_orphans() is 'Tells the workers that calls are to be taken over';
comment on function queues.grantee_in(cstring) is 'Input of the type queues.grantee';
comment on function queues.grantee_out(queues.grantee) is 'Output of the type queues.grantee';
comment on function queues.check_provider(jsonb) is 'Raises an error if a row of queues.provider cannot be used';
comment on function queues.provider_before_write() is 'Trigger: checks a provider';
comment on function queues.provider_before_write_checked() is 'Trigger: checks a provider, with the rights of the owner';
comment on function queues.task_kind_before_write() is 'Trigger: checks a task type';
comment on function queues.task_kind_before_write_checked() is 'Trigger: checks a task type, with the rights of the owner';
comment on function queues.kinds_after_change() is 'Trigger: has every process read task types and providers anew';
comment on function queues.refuse_unwritten(regclass, boolean) is 'Raises an error that names what kept a row from being written';
comment on function queues.end_task(bigint, text) is 'Ends a task of a worker outside';
comment on function queues.cancel_running(bigint) is 'Interrupts a task that a worker runs';
comment on function queues.cancel_call(bigint, bigint) is 'Has a worker give up the call of a task';
comment on function internal.worker_state() is 'The live workers of this database, as shared memory has them';
comment on function queues.check_serves(text, jsonb) is 'Raises an error if a provider cannot serve a task type';
comment on function queues.refuse_in_use(text, text) is 'Raises an error if a task type names a provider';
comment on function queues.refuse_emptying() is 'Trigger: refuses to empty a table that tasks cannot do without';
comment on function queues.task_kind_before_delete() is 'Trigger: refuses to delete a task type that is built in';
comment on function queues.provider_before_delete() is 'Trigger: refuses to delete a provider that is built in or used';
comment on function queues.replicates() is 'Whether this process applies what is replicated';
comment on function queues.restore_triggers() is 'Sets the triggers of the extension to ENABLE ALWAYS; returns which were not';
comment on function queues.tell_of_ended_lease(bigint) is 'Warns once of a lease that has ended before its task';


-- == Rights that default privileges gave ==

-- Revoke what ALTER DEFAULT PRIVILEGES had granted on functions when the extension was created. Grants that users made
-- later are not in pg_init_privs.
do $$
declare
    _revoke text;
begin
    for _revoke in
        select distinct format('revoke all on function %s from %s', p.oid::regprocedure, a.grantee::regrole)
        from pg_catalog.pg_init_privs i
        join pg_catalog.pg_extension e on e.extname = 'pg_errand'
        join pg_catalog.pg_depend d on d.classid = i.classoid
            and d.objid = i.objoid
            and d.refclassid = 'pg_extension'::regclass
            and d.refobjid = e.oid
            and d.deptype = 'e'
        join pg_catalog.pg_proc p on p.oid = i.objoid
        cross join lateral aclexplode(i.initprivs) a
        join pg_catalog.pg_roles r on r.oid = a.grantee
        where i.classoid = 'pg_proc'::regclass
            and i.objsubid = 0
            and a.grantee <> p.proowner
            -- What the extension itself grants to the workers' role.
            and not (
                p.proname in ('enqueue', 'run_function')
                and r.rolname = coalesce(nullif(current_setting('pg_errand.role', true), ''), 'pg_errand_worker')
            )
    loop
        execute _revoke;
    end loop;
end;
$$;


-- == Rights on what is new ==

-- Revoke all privileges on new objects from all roles but the owner, whatever ALTER DEFAULT PRIVILEGES has granted.
-- Grants of this script have to come after this.
do $$
declare
    _revoke text;
begin
    for _revoke in
        select distinct format(
            'revoke all on %s %s from %s',
            o.kind, o.name, case when a.grantee = 0 then 'public' else a.grantee::regrole::text end
        )
        from pg_catalog.pg_extension e
        join pg_catalog.pg_depend d on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid and d.deptype = 'e'
        cross join lateral (
            select 'table' as kind, c.oid::regclass::text as name, c.relowner as owner, c.relacl as acl
            from pg_catalog.pg_class c
            where d.classid = 'pg_class'::regclass and c.oid = d.objid and c.relkind <> 'c'
            union all
            select 'function', p.oid::regprocedure::text, p.proowner,
                coalesce(p.proacl, acldefault('f', p.proowner))
            from pg_catalog.pg_proc p
            where d.classid = 'pg_proc'::regclass and p.oid = d.objid
            union all
            select 'schema', quote_ident(n.nspname), n.nspowner, n.nspacl
            from pg_catalog.pg_namespace n
            where d.classid = 'pg_namespace'::regclass and n.oid = d.objid
            union all
            select 'type', t.oid::regtype::text, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner))
            from pg_catalog.pg_type t
            where d.classid = 'pg_type'::regclass and t.oid = d.objid and t.typtype = 'b' and t.typelem = 0
        ) o
        cross join lateral aclexplode(o.acl) a
        where e.extname = 'pg_errand'
            and a.grantee <> o.owner
            and not format('%s %s', d.classid, d.objid)
                = any (string_to_array(current_setting('errand_upgrade.members'), ','))
    loop
        execute _revoke;
    end loop;
end;
$$;


-- == Grants of this script ==

-- The usual role of the workers, also where another one was set when the extension was created.
do $$
declare
    _interim name := 'errand_worker_' || pg_backend_pid();
begin
    if not exists (select 1 from pg_roles where rolname = 'pg_errand_worker') then
        begin
            -- CREATE ROLE reserves the prefix "pg_" to the system.
            execute format(
                'create role %I %s',
                _interim, case when current_setting('server_version_num')::integer < 170000 then 'login' else 'nologin' end
            );
            perform set_config('allow_system_table_mods', 'on', true);
            update pg_authid set rolname = 'pg_errand_worker' where rolname = _interim;
            perform set_config('allow_system_table_mods', 'off', true);
        exception when unique_violation or duplicate_object then
            -- created at the same moment for another database
            null;
        end;
    end if;
end;
$$;

grant usage on schema queues, internal to pg_errand_worker;
grant execute on function queues.enqueue(text, jsonb, timestamptz), internal.run_function(text, jsonb) to pg_errand_worker;

-- Whoever could execute dequeue_next_available_task() can execute the one that takes its place.
do $$
begin
    execute coalesce(nullif(current_setting('errand_upgrade.dequeue_grants'), ''), 'select');
end;
$$;
