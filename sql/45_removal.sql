-- What follows when tasks are removed: their errors stay, without them; their calls go. Triggers, not
-- foreign keys: pg_restore --jobs loads the tables in any order, and the keys of an extension's
-- tables are there before their rows.
create function queues.task_after_delete()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update queues.error e
    set task_id = null
    from gone
    where e.task_id = gone.task_id;

    delete from queues.call c
    using gone
    where c.task_id = gone.task_id;

    return null;
end;
$$;

create trigger task_after_delete
    after delete on queues.task
    referencing old table as gone
    for each statement
    execute function queues.task_after_delete();

-- Forgets runs that ended with their worker: their numbers may be given to other tasks.
create function queues.forget_runs()
returns void
language c
as 'MODULE_PATHNAME', 'forget_runs_wrapper';

create function queues.task_after_truncate()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update queues.error
    set task_id = null
    where task_id is not null;

    delete from queues.call;

    perform queues.forget_runs();
    return null;
end;
$$;

create trigger task_after_truncate
    after truncate on queues.task
    for each statement
    execute function queues.task_after_truncate();
