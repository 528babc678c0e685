-- Makes the extension depend on the schema of internal.run_function, unless it does.
select errand.depend_on_schema(p.pronamespace)
from pg_extension e
join pg_depend m on m.refclassid = 'pg_extension'::regclass and m.refobjid = e.oid and m.deptype = 'e'
join pg_proc p on m.classid = 'pg_proc'::regclass and p.oid = m.objid
where e.extname = 'pg_errand'
    and p.proname = 'run_function'
    and not exists (
        select 1
        from pg_depend d
        where d.classid = 'pg_extension'::regclass
            and d.objid = e.oid
            and d.refclassid = 'pg_namespace'::regclass
            and d.refobjid = p.pronamespace
    );
