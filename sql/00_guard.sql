-- Unqualified names in this script refer to pg_catalog.
set local search_path = pg_catalog, pg_temp;

-- Refuses to install in a database that already has objects of these names.
do $$
declare
    _schema name;
begin
    if getdatabaseencoding() <> 'UTF8' then
        raise exception 'pg_errand needs a database with encoding UTF8, this one has %', getdatabaseencoding()
            using errcode = 'feature_not_supported',
                  hint = 'Create a database with: CREATE DATABASE name ENCODING ''UTF8'' TEMPLATE template0;';
    end if;
    foreach _schema in array '{queues,errand}'::name[] loop
        if to_regnamespace(quote_ident(_schema)) is not null then
            raise exception 'schema "%" already exists', _schema
                using errcode = 'duplicate_schema',
                      detail = 'pg_errand keeps its tables and functions in the schemas "queues" and "errand".',
                      hint = 'Rename or drop the schema, or install pg_errand in a database without it.';
        end if;
    end loop;
    if exists (
        select 1
        from pg_proc p
        join pg_namespace n on n.oid = p.pronamespace
        where n.nspname = 'internal'
            and p.proname = 'run_function'
    ) then
        raise exception 'function internal.run_function already exists'
            using errcode = 'duplicate_function',
                  detail = 'pg_errand brings a function of this name.',
                  hint = 'Rename or drop the function first.';
    end if;
end;
$$;
