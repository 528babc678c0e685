-- What decides whether function $1 may be a handler that runs as role $2: its name as GRANT takes it; its schema if
-- that is one of the system's; the extension that it belongs to; whether EXECUTE is granted by name to the role, or to
-- a role that it is a member of; and the name of the database, quoted.
with recursive function as (
    select p.oid, p.proname, p.proowner, p.proacl, n.nspname
    from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    where p.oid = $1
), held (role) as (
    select r.oid
    from pg_roles r
    where r.rolname = $2
    union
    select m.roleid
    from held
    join pg_auth_members m on m.member = held.role
), facts as (
    select
        f.*,
        case when f.nspname ~ '^pg_' or f.nspname = 'information_schema' then f.nspname end as reserved,
        (
            select e.extname
            from pg_depend d
            join pg_extension e on e.oid = d.refobjid
            where d.classid = 'pg_proc'::regclass
                and d.objid = f.oid
                and d.refclassid = 'pg_extension'::regclass
                and d.deptype = 'e'
        ) as extension
    from function f
)
select
    format('%I.%I(%s)', f.nspname, f.proname, pg_get_function_identity_arguments(f.oid)),
    f.reserved::text,
    f.extension::text,
    exists (
        select
        from aclexplode(f.proacl) a
        where a.privilege_type = 'EXECUTE'
            and a.grantee in (select role from held)
            and (a.grantee <> f.proowner or coalesce(f.reserved, f.extension) is null)
    )
    or coalesce(f.reserved, f.extension) is null
        and f.proowner in (select role from held),
    quote_ident(current_database())
from facts f;
