-- Interrupts the worker that runs this task. Returns false if no worker does.
create function errand.cancel_running(_task_id bigint)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'cancel_running_wrapper';

-- Requests that the worker _owner give up the call of this task. Returns false if that worker no longer exists, and
-- null if the request has to be repeated later.
create function errand.cancel_call(_owner bigint, _task_id bigint)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'cancel_call_wrapper';

-- Cancels a task. A waiting task never runs, unless the caller rolls back. A running task is interrupted immediately,
-- even if its handler catches all errors, and no further handler is invoked; the provider may have received a request
-- that is in flight. Returns false if the task has ended or does not exist.
create function queues.cancel(_task_id bigint)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _finished boolean;
    _calling boolean;
    _owner bigint;
    _told boolean;
    _task_type text;
begin
    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    loop
        select t.finished_at is not null, t.calling, c.owner, t.task_type
        into _finished, _calling, _owner, _task_type
        from only queues.task t
        left join only queues.call c on c.task_id = t.task_id
        where t.task_id = _task_id;

        if not found or _finished then
            return false;
        end if;

        if errand.cancel_running(_task_id) then
            return true;
        end if;

        if _calling then
            -- The row of the call may have been deleted.
            _told := case when _owner is null then false else errand.cancel_call(_owner, _task_id) end;
            if _told then
                -- The task may have ended just before.
                return exists (
                    select 1
                    from only queues.task t
                    where t.task_id = _task_id
                        and (t.finished_at is null or t.final_status = 'cancelled')
                );
            end if;
            if _told is null then
                perform pg_sleep(0.002);
                continue;
            end if;
        end if;

        -- If its row can be locked, no worker runs the task.
        perform 1
        from only queues.task t
        where t.task_id = _task_id
            and t.finished_at is null
            and t.calling = _calling
        for no key update skip locked;

        if found then
            update only queues.task
            set finished_at = clock_timestamp(),
                final_status = 'cancelled',
                calling = false,
                leased = false,
                not_before = null
            where task_id = _task_id;
            if exists (select 1 from only queues.task t where t.task_id = _task_id and t.finished_at is null) then
                perform errand.refuse_unwritten('queues.task');
            end if;
            perform errand.count_task(_task_id, _task_type, 'cancelled');

            update only queues.call
            set request = null
            where task_id = _task_id;
            if exists (select 1 from only queues.call c where c.task_id = _task_id and c.request is not null) then
                perform errand.refuse_unwritten('queues.call');
            end if;
            perform errand.announce_follower(_task_id);
            return true;
        end if;

        -- The task is just starting or ending, or another session has locked its row.
        perform pg_sleep(0.002);
    end loop;
end;
$$;
