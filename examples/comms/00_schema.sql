-- Checks what the example needs, then creates its roles and its schema.

-- the messages below are complete without their context
\set SHOW_CONTEXT never

do $$
declare
    _worker_role text := coalesce(nullif(current_setting('pg_errand.role', true), ''), 'errand_worker');
begin
    if not exists (select 1 from pg_catalog.pg_extension where extname = 'pg_errand') then
        raise exception 'extension pg_errand is not installed in database "%"', current_database()
            using hint = 'Run CREATE EXTENSION pg_errand in this database first.';
    end if;

    if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
        raise exception 'this script creates roles and must be run by a superuser'
            using detail = format('The current role is "%s".', current_user);
    end if;

    if not exists (select 1 from pg_catalog.pg_roles where rolname = _worker_role) then
        raise exception 'the role of the workers, "%", does not exist', _worker_role
            using hint = 'It is named by pg_errand.role; create it or correct the setting.';
    end if;

    if exists (select 1 from pg_catalog.pg_namespace where nspname = 'comms') then
        raise exception 'schema "comms" exists already in database "%"', current_database()
            using hint = 'Run DROP SCHEMA comms CASCADE to install the example afresh.';
    end if;

    -- owns all objects of the example, and cannot log in
    if not exists (select 1 from pg_catalog.pg_roles where rolname = 'comms_owner') then
        create role comms_owner nologin;
    end if;

    -- the role that an application is granted: GRANT comms_app TO my_login
    if not exists (select 1 from pg_catalog.pg_roles where rolname = 'comms_app') then
        create role comms_app nologin;
    end if;
end
$$;

\set SHOW_CONTEXT errors

-- the privileges that supervisors need on the queue: to enqueue, and to see how their tasks ended
grant usage on schema queues to comms_owner;
grant execute on function queues.enqueue to comms_owner;
grant select on queues.task_status to comms_owner;

-- e-mail and SMS delivery
create schema comms authorization comms_owner;
