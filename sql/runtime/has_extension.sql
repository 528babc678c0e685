-- Returns whether this database has the extension.
select exists (
    select 1
    from pg_extension e
    where e.extname = 'pg_errand'
);
