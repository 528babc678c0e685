-- Says so if no worker can start.
create function queues.preloaded()
returns boolean
language c
as 'MODULE_PATHNAME', 'preloaded_wrapper';

revoke all on function queues.preloaded() from public;

do $$
begin
    if not queues.preloaded() then
        raise warning 'pg_errand is installed, but no worker can start: the library is not preloaded'
            using hint = 'Add pg_errand to shared_preload_libraries in postgresql.conf and restart the server.';
    end if;
end;
$$;
