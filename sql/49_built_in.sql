-- What tasks cannot do without: the row of queues.home, the task types and providers that come with the extension, and
-- the triggers. None of it can be removed by mistake, and all of it can be restored.

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

create trigger task_definition_before_emptying
    before truncate on queues.task_definition
    for each statement
    execute function queues.refuse_emptying();

-- Refuses to delete a task type that is built in. One that is deleted by a trigger is replaced: see
-- queues.task_definition_before_write.
create function queues.task_definition_before_delete()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if old.built_in and pg_trigger_depth() = 1 and not queues.replicates() then
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
    execute function queues.task_definition_before_delete();

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

    -- Tasks may have been enqueued or come in meanwhile that nobody was told of.
    perform queues.announce(clock_timestamp());
end;
$$;

select queues.restore_built_in();
