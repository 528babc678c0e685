-- Revoke all privileges from all roles but the owner, whatever ALTER DEFAULT PRIVILEGES has granted.
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
            -- A column's default and views call these two, with the rights of the role that uses them.
            and not (
                a.grantee = 0
                and d.objid in ('internal.queue_origin()'::regprocedure, 'internal.worker_state()'::regprocedure)
            )
    loop
        execute _revoke;
    end loop;
end;
$$;

grant execute on function internal.queue_origin(), internal.worker_state() to public;

-- The role of the workers: it may enqueue, and otherwise only what users grant it. The usual one is made even if
-- another one is set: roles of users may become members of it.
do $$
declare
    _role name;
    -- Up to 16, background workers can connect only as roles that may log in.
    _login text := case when current_setting('server_version_num')::integer < 170000 then 'login' else 'nologin' end;
    _interim name := 'errand_worker_' || pg_backend_pid();
begin
    for _role in
        select 'errand_worker'
        union
        select nullif(current_setting('pg_errand.role', true), '')
    loop
        continue when _role is null;
        if not exists (select 1 from pg_catalog.pg_roles where rolname = _role) then
            begin
                if starts_with(_role, 'pg_') then
                    -- CREATE ROLE reserves the prefix "pg_" to the system.
                    execute format('create role %I %s', _interim, _login);
                    perform set_config('allow_system_table_mods', 'on', true);
                    update pg_catalog.pg_authid set rolname = _role where rolname = _interim;
                    perform set_config('allow_system_table_mods', 'off', true);
                else
                    execute format('create role %I %s', _role, _login);
                end if;
            exception when unique_violation or duplicate_object then
                -- created at the same moment for another database
                null;
            end;
        end if;

        execute format('grant usage on schema queues, internal to %I', _role);
        execute format('grant execute on function queues.enqueue(text, jsonb, timestamptz) to %I', _role);
        execute format('grant execute on function internal.run_function(text, jsonb) to %I', _role);
    end loop;
end;
$$;
