-- Function $1 as a handler that runs as role $2: its name as GRANT takes it; whether EXECUTE is granted by name to the
-- role, or to a role that it is a member of; and the name of the database, quoted. $3: whether it is a user's function,
-- whose owner may execute it without a grant.
with recursive held (role) as (
    select r.oid
    from pg_roles r
    where r.rolname = $2
    union
    select m.roleid
    from held
    join pg_auth_members m on m.member = held.role
)
select
    format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
    exists (
        select
        from aclexplode(p.proacl) a
        where a.privilege_type = 'EXECUTE'
            and a.grantee in (select role from held)
            and (a.grantee <> p.proowner or $3)
    )
    or $3
        and p.proowner in (select role from held),
    quote_ident(current_database())
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
where p.oid = $1;
