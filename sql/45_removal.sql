-- What follows when tasks are removed: their errors stay, without them; their calls go. Triggers, not
-- foreign keys: pg_restore --jobs loads the tables in any order, and the keys of an extension's
-- tables are there before their rows.
--
-- Both functions write with the rights of the tables' owner, and leave triggers of other tables that
-- follow (a foreign key of a user's that cascades) to whoever removes the tasks: no SECURITY DEFINER
-- function can do that, see src/removal.rs.
create function queues.task_after_delete()
returns trigger
language c
as 'MODULE_PATHNAME', 'task_after_delete';

create trigger task_after_delete
    after delete on queues.task
    referencing old table as gone
    for each statement
    execute function queues.task_after_delete();

-- It forgets runs that ended with their worker, too: their numbers may be given to other tasks.
create function queues.task_after_truncate()
returns trigger
language c
as 'MODULE_PATHNAME', 'task_after_truncate';

create trigger task_after_truncate
    after truncate on queues.task
    for each statement
    execute function queues.task_after_truncate();
