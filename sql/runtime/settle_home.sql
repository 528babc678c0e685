-- Stores the identity of this database, after it has been found to be a copy or the table to be empty. $1 origin, $2 system,
-- $3 database, $4 data directory.
with settled as (
    update only errand.home
    set origin = $1,
        system = $2,
        database = $3,
        directory = $4
    returning origin
)
insert into errand.home (origin, system, database, directory)
select $1, $2, $3, $4
where not exists (select 1 from settled);
