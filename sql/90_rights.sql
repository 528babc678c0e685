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

-- The default of a column, the views and queues.grant_role call these functions with the privileges of the role that uses
-- them. They cannot be called by name without USAGE on the schema.
grant execute on function errand.queue_origin() to public;
grant execute on function errand.worker_state() to public;
grant execute on function errand.worker_waits() to public;
grant execute on function errand.provider_state() to public;
grant execute on function errand.stats() to public;
grant execute on function errand.stats_buckets() to public;
grant execute on function errand.stats_info() to public;
grant execute on function errand.moment() to public;
grant execute on function errand.narrows(timestamptz, text, boolean, boolean, boolean) to public;
grant execute on function errand.message_shape(text) to public;
grant execute on function errand.unadopted() to public;
grant execute on function errand.waiting_groups() to public;
grant execute on function errand.waiting() to public;
grant execute on function errand.change_role(regrole, text, boolean) to public;
grant execute on function errand.health() to public;
grant execute on function errand.report_facts(timestamptz, timestamptz) to public;
grant execute on function errand.report_failures(timestamptz, timestamptz) to public;
grant execute on function errand.report_locks() to public;
grant execute on function errand.report_page(jsonb) to public;
grant execute on function errand.samples() to public;

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
