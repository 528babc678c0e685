-- The identity of this database. Each task carries the origin of the database in which it was enqueued, and runs only
-- there. A copy of a database (restored from a dump, created from a template, replicated, started from a base backup)
-- has another origin; tasks that came with the copy are unadopted until queues.adopt() is called.
create table errand.home (
    -- the origin of tasks that are enqueued in this database
    origin bigint not null,
    -- the system identifier of the server in which this row is valid, see pg_control_system()
    system bigint not null,
    -- the OID of the database in which this row is valid
    database oid not null,
    -- the identity of the data directory if it was created by a base backup, otherwise 0
    directory bigint not null
);

comment on table errand.home is 'The identity of this database: tasks of another origin are unadopted';

-- Without a replica identity, a publication of all tables would forbid updates.
alter table errand.home replica identity full;

-- Returns where this session runs: the last three columns of errand.home.
create function errand.place(out system bigint, out database oid, out directory bigint)
returns setof record
language c
as 'MODULE_PATHNAME', 'place_wrapper';

-- Each CREATE EXTENSION creates a new origin. Dumps leave the table out, since a restored database is a copy.
insert into errand.home (origin, system, database, directory)
select hashtextextended(gen_random_uuid()::text, 0), place.system, place.database, place.directory
from errand.place() place;

-- Returns the origin of tasks that are enqueued in this database. The default of a column and the views call this
-- function with the privileges of the role that uses them, so PUBLIC may execute it.
create function errand.queue_origin()
returns bigint
stable
language c
as 'MODULE_PATHNAME', 'queue_origin_wrapper';
