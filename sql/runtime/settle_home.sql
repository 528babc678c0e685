-- Makes this database, so far a copy of another one, a home of its own. $1 origin, $2 system,
-- $3 database, $4 data directory.
update queues.home
set origin = $1,
    system = $2,
    database = $3,
    directory = $4;
