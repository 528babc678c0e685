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
    has_schema_privilege('queues', 'usage')
        and has_schema_privilege('internal', 'usage')
        and has_function_privilege('queues.enqueue(text, jsonb, timestamptz)', 'execute')
from pg_extension e
where e.extname = 'pg_errand';
