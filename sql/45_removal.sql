-- When tasks are removed, their errors lose their task_id, and their calls are removed. Triggers do that and not
-- foreign keys, since pg_restore --jobs loads tables in any order while the keys of an extension's tables exist already.
--
-- Both functions write with the privileges of the owner of the tables. The triggers of other tables that follow, for
-- example of a user's foreign key that cascades, run with the privileges of the role that removes the tasks. A SECURITY
-- DEFINER function cannot do that, see src/removal.rs.
create function errand.task_after_delete()
returns trigger
language c
as 'MODULE_PATHNAME', 'task_after_delete_wrapper';

create trigger task_after_delete
    after delete on queues.task
    referencing old table as gone
    for each statement
    execute function errand.task_after_delete();

-- Also removes from shared memory the attempts that ended with their worker, since task ids may be used again.
create function errand.task_after_truncate()
returns trigger
language c
as 'MODULE_PATHNAME', 'task_after_truncate_wrapper';

create trigger task_after_truncate
    after truncate on queues.task
    for each statement
    execute function errand.task_after_truncate();
