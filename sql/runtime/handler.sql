-- Describes function $1 as a handler that runs as role $2: its name as in GRANT, whether EXECUTE is granted by name to the
-- role or to a role of which it is a member, and the quoted name of the database. $3 whether it is a function of a user,
-- which its owner may execute without a grant.
with recursive granted_role (role) as (
    select r.oid
    from pg_roles r
    where r.rolname = $2
    union
    select m.roleid
    from granted_role
    join pg_auth_members m on m.member = granted_role.role
)
select
    format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
    exists (
        select
        from aclexplode(p.proacl) a
        where a.privilege_type = 'EXECUTE'
            and a.grantee in (select role from granted_role)
            and (a.grantee <> p.proowner or $3)
    )
    or $3
        and p.proowner in (select role from granted_role),
    quote_ident(current_database())
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
where p.oid = $1;
