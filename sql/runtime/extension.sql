-- The extension in this database, and whether the role of the session has the privileges that workers need. The schemas
-- may have been renamed, so the current ones are found by the members of the extension.
select
    e.extowner,
    e.extversion,
    (
        select c.oid
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'queues'
            and c.relname = 'task'
    ) as tasks,
    (
        select c.oid
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'queues'
            and c.relname = 'call'
    ) as calls,
    (
        select c.oid
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'errand'
            and c.relname = 'home'
    ) as home,
    coalesce(
        has_schema_privilege(session_user, to_regnamespace('queues')::oid, 'usage')
            and has_schema_privilege(session_user, f.pronamespace, 'usage')
            and has_function_privilege(
                session_user,
                to_regprocedure(
                    'queues.enqueue(text, jsonb, timestamptz, text, text, interval, interval, integer, text)'
                )::oid,
                'execute'
            ),
        false
    ) as has_grants,
    f.pronamespace::regnamespace::text as functions_schema,
    tables.task as queues_schema,
    tables.home as errand_schema
from pg_extension e
cross join lateral (
    select
        max(c.relnamespace::regnamespace::text) filter (where c.relname = 'task') as task,
        max(c.relnamespace::regnamespace::text) filter (where c.relname = 'home') as home
    from pg_depend d
    join pg_class c on c.oid = d.objid
    where d.classid = 'pg_class'::regclass
        and d.refclassid = 'pg_extension'::regclass
        and d.refobjid = e.oid
        and d.deptype = 'e'
) tables
left join lateral (
    select p.pronamespace
    from pg_depend d
    join pg_proc p on p.oid = d.objid
    where d.classid = 'pg_proc'::regclass
        and d.refclassid = 'pg_extension'::regclass
        and d.refobjid = e.oid
        and d.deptype = 'e'
        and p.proname = 'run_function'
) f on true
where e.extname = 'pg_errand';
