-- Interrupts the worker that runs this task now; false if none does.
create function queues.cancel_running(_task_id bigint)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'cancel_running_wrapper';

-- Tells the worker _owner to give up the call of this task; false if that worker is gone, null if it
-- cannot be told right now.
create function queues.cancel_call(_owner bigint, _task_id bigint)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'cancel_call_wrapper';

-- Cancels a task. A waiting one never runs (unless the caller rolls back); a running one is
-- interrupted at once, whatever its handler catches. No further handler of it is called; a
-- provider call in flight may have been made. False for a task that has ended or does not exist.
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
begin
    -- Before anything is read: see the worker's claims.
    lock table only queues.task in row exclusive mode;

    loop
        select t.finished_at is not null, t.calling, c.owner
        into _finished, _calling, _owner
        from only queues.task t
        left join only queues.call c on c.task_id = t.task_id
        where t.task_id = _task_id;

        if not found or _finished then
            return false;
        end if;

        if queues.cancel_running(_task_id) then
            return true;
        end if;

        if _calling then
            -- Somebody may have removed the call's row.
            _told := case when _owner is null then false else queues.cancel_call(_owner, _task_id) end;
            if _told then
                -- Unless it has ended otherwise just before.
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

        -- The row is free: nobody runs it.
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
                held_until = null
            where task_id = _task_id;
            if exists (select 1 from only queues.task t where t.task_id = _task_id and t.finished_at is null) then
                perform queues.refuse_unwritten('queues.task');
            end if;

            update only queues.call
            set request = null
            where task_id = _task_id;
            if exists (select 1 from only queues.call c where c.task_id = _task_id and c.request is not null) then
                perform queues.refuse_unwritten('queues.call');
            end if;
            return true;
        end if;

        -- It starts or ends at this very moment, or another session holds its row.
        perform pg_sleep(0.002);
    end loop;
end;
$$;
