-- A supervisor that raises an error, or is cancelled, enqueues no next check: its message would stay pending forever.
-- Run this periodically, manually, by a scheduler or as a task: it starts such supervisors again.

-- fact: whether the queue is running that task or still has to run it
create function comms.is_task_open(_task_id bigint)
returns boolean
language sql
stable
as $$
    select exists (
        select 1
        from queues.task_status
        where task_id = _task_id
          and status in ('scheduled', 'ready', 'running')
    );
$$;

-- db_function: a new check for each pending message whose last check has ended
create function comms.resume_stalled(_payload jsonb)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _stalled record;
    _facts record;
    _resumed integer := 0;
begin
    for _stalled in
        select task.send_email_task_id, last_check.check_number
        from comms.send_email_task task
        join comms.delivery delivery using (message_id)
        cross join lateral (
            select check_number, task_id
            from comms.send_email_task_check
            where send_email_task_id = task.send_email_task_id
            order by check_number desc
            limit 1
        ) last_check
        where delivery.state = 'pending'
          and not comms.is_task_open(last_check.task_id)
        for no key update of task skip locked
    loop
        -- locked now: checks whether another run has scheduled a check meanwhile
        _facts := comms.send_email_facts(_stalled.send_email_task_id);
        continue when _facts.last_check <> _stalled.check_number;

        perform comms.schedule_email_check(_stalled.send_email_task_id, _stalled.check_number + 1, now());
        _resumed := _resumed + 1;
    end loop;

    for _stalled in
        select task.send_sms_task_id, last_check.check_number
        from comms.send_sms_task task
        join comms.delivery delivery using (message_id)
        cross join lateral (
            select check_number, task_id
            from comms.send_sms_task_check
            where send_sms_task_id = task.send_sms_task_id
            order by check_number desc
            limit 1
        ) last_check
        where delivery.state = 'pending'
          and not comms.is_task_open(last_check.task_id)
        for no key update of task skip locked
    loop
        -- locked now: checks whether another run has scheduled a check meanwhile
        _facts := comms.send_sms_facts(_stalled.send_sms_task_id);
        continue when _facts.last_check <> _stalled.check_number;

        perform comms.schedule_sms_check(_stalled.send_sms_task_id, _stalled.check_number + 1, now());
        _resumed := _resumed + 1;
    end loop;

    return jsonb_build_object('status', 'succeeded', 'payload', jsonb_build_object('resumed', _resumed));
end;
$$;
