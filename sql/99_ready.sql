-- Warns if no worker can start.
do $$
begin
    if not errand.preloaded() then
        raise warning 'pg_errand is installed, but no worker can start: the library is not preloaded'
            using hint = 'Add pg_errand to shared_preload_libraries in postgresql.conf and restart the server.';
    end if;
end;
$$;
