-- What follows when tasks are removed: their errors stay, without them; their calls go. Triggers, not
-- foreign keys: pg_restore --jobs loads the tables in any order, and the keys of an extension's
-- tables are there before their rows.
--
-- Both functions write with the rights of the tables' owner. Triggers of other tables that follow (a user's
-- foreign key that cascades) run with the rights of the role that removes the tasks. A SECURITY DEFINER
-- function cannot do that, see src/removal.rs.
create function queues.task_after_delete()
returns trigger
language c
as 'MODULE_PATHNAME', 'task_after_delete';

create trigger task_after_delete
    after delete on queues.task
    referencing old table as gone
    for each statement
    execute function queues.task_after_delete();

-- Also forgets runs that ended with their worker: their task numbers may be given to other tasks.
create function queues.task_after_truncate()
returns trigger
language c
as 'MODULE_PATHNAME', 'task_after_truncate';

create trigger task_after_truncate
    after truncate on queues.task
    for each statement
    execute function queues.task_after_truncate();
