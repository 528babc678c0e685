-- The queue. Nothing in it is open to PUBLIC.
create schema queues;

comment on schema queues is 'pg_errand: tasks, their errors, and the workers that run them';

-- Whether workers can start.
create function queues.preloaded()
returns boolean
language c
as 'MODULE_PATHNAME', 'preloaded_wrapper';

-- `internal` may hold things of the user's own, so it is never a member of the extension.
do $$
begin
    if pg_catalog.to_regnamespace('internal') is null then
        create schema internal;
        alter extension pg_errand drop schema internal;
        -- ALTER DEFAULT PRIVILEGES may have granted privileges on it to other roles.
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
            from pg_catalog.pg_namespace n
            cross join lateral aclexplode(n.nspacl) a
            where n.nspname = 'internal'
                and a.grantee <> n.nspowner
        );
    end if;
end;
$$;
