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
