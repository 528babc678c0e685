-- The extension in this database, and whether the current role has what workers' roles need.
select
    e.extowner,
    e.extversion,
    (
        select c.oid
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'queues'
            and c.relname = 'task'
    ),
    (
        select c.oid
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'queues'
            and c.relname = 'call'
    ),
    -- by number: the schema "internal" may be renamed by its owner
    coalesce(
        has_schema_privilege(to_regnamespace('queues'), 'usage')
            and has_schema_privilege(to_regnamespace('internal'), 'usage')
            and has_function_privilege(
                to_regprocedure('queues.enqueue(text, jsonb, timestamptz)'), 'execute'
            ),
        false
    )
from pg_extension e
where e.extname = 'pg_errand';
