-- Creates the role $1, whose name CREATE ROLE reserves to the system, if it is not there. Up to 16,
-- background workers can connect only as roles that may log in.
lock table pg_catalog.pg_authid in share row exclusive mode;

insert into pg_catalog.pg_authid (
    oid, rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
    rolconnlimit
)
select
    pg_catalog.pg_nextoid('pg_catalog.pg_authid', 'oid', 'pg_catalog.pg_authid_oid_index'),
    $1::pg_catalog.name,
    false, true, false, false,
    pg_catalog.current_setting('server_version_num')::pg_catalog.int4 operator(pg_catalog.<) 170000,
    false, false,
    -1
where not exists (
    select from pg_catalog.pg_authid
    where rolname operator(pg_catalog.=) $1::pg_catalog.name
);
