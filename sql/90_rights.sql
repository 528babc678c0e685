-- Nobody but the owner may call anything until it is granted.
revoke all on all functions in schema queues from public;
revoke all on function internal.run_function(text, jsonb) from public;

-- Whatever ALTER DEFAULT PRIVILEGES says: a default and the views call them, see there.
grant execute on function internal.queue_origin(), internal.worker_state() to public;

-- The role of the workers: it may enqueue, and otherwise only what users grant it.
do $$
declare
    _role name := coalesce(nullif(current_setting('pg_errand.role', true), ''), 'pg_errand_worker');
    -- Up to 16, background workers can connect only as roles that may log in.
    _login text := case when current_setting('server_version_num')::integer < 170000 then 'login' else 'nologin' end;
    _interim name := 'errand_worker_' || pg_backend_pid();
begin
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
end;
$$;
