-- The queue. Nothing in it is open to PUBLIC.
create schema queues;

comment on schema queues is 'pg_errand: tasks, their errors, and the workers that run them';

-- `internal` may hold things of the user's own, so it is never a member of the extension.
do $$
begin
    if pg_catalog.to_regnamespace('internal') is null then
        create schema internal;
        alter extension pg_errand drop schema internal;
    end if;
end;
$$;
