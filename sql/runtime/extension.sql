-- The extension in this database, and whether the current role has what workers' roles need.
select
    e.extowner,
    e.extversion,
    to_regclass('queues.task')::oid,
    has_schema_privilege('queues', 'usage')
        and has_schema_privilege('internal', 'usage')
        and has_function_privilege('queues.enqueue(text, jsonb, timestamptz)', 'execute')
from pg_extension e
where e.extname = 'pg_errand';
