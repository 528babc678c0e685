-- Whether the extension in this database has the function that restores its triggers.
select to_regprocedure('queues.restore_triggers()') is not null;
