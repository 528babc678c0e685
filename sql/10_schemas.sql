-- The objects that users call and read. PUBLIC has no privileges on the schema.
create schema queues;

comment on schema queues is 'pg_errand: tasks, errors, providers, and the functions that enqueue tasks';

-- The objects that only the extension itself calls and reads. No role but the owner has USAGE on the schema.
create schema errand;

comment on schema errand is 'pg_errand: internal functions and tables';

-- Returns whether the library is preloaded, so that workers can start.
create function errand.preloaded()
returns boolean
language c
as 'MODULE_PATHNAME', 'preloaded_wrapper';

-- "internal" is shared with users, who keep objects of their own in it. Therefore it never is a member of the extension.
do $$
begin
    if to_regnamespace('internal') is null then
        create schema internal;
        alter extension pg_errand drop schema internal;
        -- Revokes the privileges that ALTER DEFAULT PRIVILEGES has granted to other roles.
        execute (
            select coalesce(
                string_agg(
                    format(
                        'revoke all on schema internal from %s',
                        coalesce(nullif(a.grantee, 0)::regrole::text, 'public')
                    ),
                    '; '
                ),
                'select'
            )
            from pg_namespace n
            cross join lateral aclexplode(n.nspacl) a
            where n.nspname = 'internal'
                and a.grantee <> n.nspowner
        );
    end if;
end;
$$;
