-- Names in this script that are not qualified mean PostgreSQL's own.
set local search_path = pg_catalog, pg_temp;

-- Refuses to install over objects that are somebody else's.
do $$
begin
    if getdatabaseencoding() <> 'UTF8' then
        raise exception 'pg_errand needs a database with encoding UTF8, this one has %', getdatabaseencoding()
            using errcode = 'feature_not_supported',
                  hint = 'Create a database with: CREATE DATABASE name ENCODING ''UTF8'' TEMPLATE template0;';
    end if;
    if pg_catalog.to_regnamespace('queues') is not null then
        raise exception 'schema "queues" already exists'
            using errcode = 'duplicate_schema',
                  detail = 'pg_errand keeps its queue in a schema of that name.',
                  hint = 'Rename or drop the schema, or move its tasks over after installing in a database without it.';
    end if;
    if exists (
        select 1
        from pg_catalog.pg_proc p
        join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) p.pronamespace
        where n.nspname operator(pg_catalog.=) 'internal'
            and p.proname in ('run_function', 'worker_state', 'queue_origin')
    ) then
        raise exception 'function internal.run_function, worker_state or queue_origin already exists'
            using errcode = 'duplicate_function',
                  detail = 'pg_errand brings these functions.',
                  hint = 'Rename or drop them first.';
    end if;
end;
$$;
