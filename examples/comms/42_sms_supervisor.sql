-- SMS: the supervisor. It makes the decisions, and workers carry them out.
-- Envelope {success, error, validation_failure_message, payload}; absent fields are null.

-- effect: enqueues an attempt
create function comms.schedule_sms_attempt(_send_sms_task_id bigint, _attempt integer)
returns void
language sql
as $$
    insert into comms.send_sms_task_scheduled (send_sms_task_id, attempt, task_id)
    values (
        _send_sms_task_id,
        _attempt,
        queues.enqueue(
            'sms',
            jsonb_build_object(
                'task_type', 'sms',
                'before_handler', 'comms.build_sms_request',
                'success_handler', 'comms.record_sms_success',
                'error_handler', 'comms.record_sms_failure',
                'send_sms_task_id', _send_sms_task_id,
                'attempt', _attempt
            )
        )
    );
$$;

-- effect: lets the supervisor check (again) at _check_at
create function comms.schedule_sms_check(_send_sms_task_id bigint, _check_number integer, _check_at timestamptz)
returns void
language sql
as $$
    insert into comms.send_sms_task_check (send_sms_task_id, check_number, check_at, task_id)
    values (
        _send_sms_task_id,
        _check_number,
        _check_at,
        queues.enqueue(
            'db_function',
            jsonb_build_object(
                'task_type', 'db_function',
                'db_function', 'comms.send_sms_supervisor',
                'send_sms_task_id', _send_sms_task_id,
                'check_number', _check_number
            ),
            _check_at
        )
    );
$$;

-- lock: one supervisor per message at a time; false if there is no such message.
-- `no key update`, so that handlers can record facts that refer to the row meanwhile
create function comms.lock_send_sms_task(_send_sms_task_id bigint)
returns boolean
language plpgsql
as $$
begin
    perform 1
    from comms.send_sms_task
    where send_sms_task_id = _send_sms_task_id
    for no key update;

    return found;
end;
$$;

-- supervisor: receives {send_sms_task_id, check_number}
create function comms.send_sms_supervisor(_payload jsonb)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _send_sms_task_id bigint := comms.payload_id(_payload, 'send_sms_task_id');
    _check_number bigint := comms.payload_id(_payload, 'check_number');
    _facts record;
    _decision text := 'attempt_is_under_way';
begin
    -- validation
    if _send_sms_task_id is null then
        return jsonb_build_object(
            'success', false,
            'validation_failure_message', 'send_sms_task_id is missing'
        );
    end if;

    -- lock, then facts: this includes what another supervisor has just committed
    if not comms.lock_send_sms_task(_send_sms_task_id) then
        return jsonb_build_object(
            'success', false,
            'validation_failure_message', 'there is no such send_sms_task'
        );
    end if;

    _facts := comms.send_sms_facts(_send_sms_task_id);

    -- an attempt that ended without a fact is recorded first. If its task succeeded, the provider accepted the message
    if _facts.lost_attempt is not null and not _facts.is_delivered then
        if _facts.lost_status = 'succeeded' then
            perform comms.add_sms_success(_send_sms_task_id, _facts.lost_attempt, null);
        else
            perform comms.add_sms_failure(
                _send_sms_task_id,
                _facts.lost_attempt,
                format('the task ended as %s and no handler recorded why', _facts.lost_status)
            );
        end if;

        _facts := comms.send_sms_facts(_send_sms_task_id);
    end if;

    -- the two final states
    if _facts.is_delivered then
        return jsonb_build_object(
            'success', true,
            'payload', jsonb_build_object('decision', 'delivered')
        );
    end if;

    if _facts.failures >= _facts.max_attempts then
        return jsonb_build_object(
            'success', false,
            'payload', jsonb_build_object('decision', 'given_up')
        );
    end if;

    -- a stray run (a second one, or a manual one) while the next check is still to come: nothing to do
    if _check_number is distinct from _facts.last_check and _facts.next_check_at > now() then
        return jsonb_build_object(
            'success', true,
            'payload', jsonb_build_object('decision', 'next_check_is_waiting')
        );
    end if;

    -- the next attempt, if none is in progress
    if _facts.attempts = _facts.failures then
        perform comms.schedule_sms_attempt(_send_sms_task_id, _facts.attempts + 1);
        _decision := 'attempt_scheduled';
    end if;

    -- the next check, each time later
    perform comms.schedule_sms_check(_send_sms_task_id, _facts.last_check + 1, now() + _facts.next_delay);

    return jsonb_build_object(
        'success', true,
        'payload', jsonb_build_object('decision', _decision, 'next_check_at', now() + _facts.next_delay)
    );
end;
$$;
