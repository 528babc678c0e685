-- Which database this is. A task carries the origin of the database that it was enqueued in, and is
-- run only there: a copy of a database (restored, made from a template, replicated, started from a
-- base backup) is another one, and holds the tasks that came along until queues.adopt().
create table queues.home (
    -- what tasks that are enqueued here carry
    origin bigint not null,
    -- The row counts in this server (pg_control_system()),
    system bigint not null,
    -- in this database,
    database oid not null,
    -- and in this data directory; 0 unless that was made by a base backup.
    directory bigint not null
);

comment on table queues.home is 'Which database this is; tasks of another one are held';

-- A copy of a database that publishes all its tables has to change it, too.
alter table queues.home replica identity full;

-- Where this session is: the last three columns of queues.home.
create function queues.place(out system bigint, out database oid, out directory bigint)
returns setof record
language c
as 'MODULE_PATHNAME', 'place_wrapper';

-- New with each CREATE EXTENSION. It is not dumped: what is restored comes from elsewhere.
insert into queues.home (origin, system, database, directory)
select hashtextextended(gen_random_uuid()::text, 0), place.system, place.database, place.directory
from queues.place() place;

-- What tasks that are enqueued here carry. Defaults and views call functions with the rights of whoever
-- uses the table or view, so this one is open.
create function internal.queue_origin()
returns bigint
stable
language c
as 'MODULE_PATHNAME', 'queue_origin_wrapper';

-- The same for the functions of this schema, which run as the extension's owner: what is in "internal" is
-- whatever the owner of that schema has put there.
create function queues.here()
returns bigint
stable
language c
as 'MODULE_PATHNAME', 'queue_origin_wrapper';
