-- E-mail: the supervisor. It makes the decisions, and workers carry them out.
-- Envelope {status, payload}. A status other than 'succeeded' is shown as the task's outcome and is not a failure.

-- effect: enqueues an attempt
create function comms.schedule_email_attempt(_send_email_task_id bigint, _attempt integer)
returns void
language sql
as $$
    insert into comms.send_email_task_scheduled (send_email_task_id, attempt, task_id)
    values (
        _send_email_task_id,
        _attempt,
        queues.enqueue(
            'email',
            jsonb_build_object(
                'task_type', 'email',
                'before_handler', 'comms.build_email_request',
                'success_handler', 'comms.record_email_success',
                'error_handler', 'comms.record_email_failure',
                'send_email_task_id', _send_email_task_id,
                'attempt', _attempt
            )
        )
    );
$$;

-- effect: lets the supervisor check (again) at _check_at
create function comms.schedule_email_check(_send_email_task_id bigint, _check_number integer, _check_at timestamptz)
returns void
language sql
as $$
    insert into comms.send_email_task_check (send_email_task_id, check_number, check_at, task_id)
    values (
        _send_email_task_id,
        _check_number,
        _check_at,
        queues.enqueue(
            'db_function',
            jsonb_build_object(
                'task_type', 'db_function',
                'db_function', 'comms.send_email_supervisor',
                'send_email_task_id', _send_email_task_id,
                'check_number', _check_number
            ),
            _check_at
        )
    );
$$;

-- lock: one supervisor per message at a time; false if there is no such message.
-- `no key update`, so that handlers can record facts that refer to the row meanwhile
create function comms.lock_send_email_task(_send_email_task_id bigint)
returns boolean
language plpgsql
as $$
begin
    perform 1
    from comms.send_email_task
    where send_email_task_id = _send_email_task_id
    for no key update;

    return found;
end;
$$;

-- supervisor: receives {send_email_task_id, check_number}
create function comms.send_email_supervisor(_payload jsonb)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _send_email_task_id bigint := comms.payload_id(_payload, 'send_email_task_id');
    _check_number bigint := comms.payload_id(_payload, 'check_number');
    _facts record;
    _decision text := 'attempt_is_under_way';
begin
    -- validation
    if _send_email_task_id is null then
        return jsonb_build_object('status', 'missing_send_email_task_id');
    end if;

    -- lock, then facts: this includes what another supervisor has just committed
    if not comms.lock_send_email_task(_send_email_task_id) then
        return jsonb_build_object('status', 'send_email_task_not_found');
    end if;

    _facts := comms.send_email_facts(_send_email_task_id);

    -- an attempt that ended without a fact is recorded first. If its task succeeded, the provider accepted the message
    if _facts.lost_attempt is not null and not _facts.is_delivered then
        if _facts.lost_status = 'succeeded' then
            perform comms.add_email_success(_send_email_task_id, _facts.lost_attempt, null);
        else
            perform comms.add_email_failure(
                _send_email_task_id,
                _facts.lost_attempt,
                format('the task ended as %s and no handler recorded why', _facts.lost_status)
            );
        end if;

        _facts := comms.send_email_facts(_send_email_task_id);
    end if;

    -- the two final states
    if _facts.is_delivered then
        return jsonb_build_object(
            'status', 'succeeded',
            'payload', jsonb_build_object('decision', 'delivered')
        );
    end if;

    if _facts.failures >= _facts.max_attempts then
        return jsonb_build_object(
            'status', 'given_up',
            'payload', jsonb_build_object('decision', 'given_up')
        );
    end if;

    -- a stray run (a second one, or a manual one) while the next check is still to come: nothing to do
    if _check_number is distinct from _facts.last_check and _facts.next_check_at > now() then
        return jsonb_build_object(
            'status', 'succeeded',
            'payload', jsonb_build_object('decision', 'next_check_is_waiting')
        );
    end if;

    -- the next attempt, if none is in progress
    if _facts.attempts = _facts.failures then
        perform comms.schedule_email_attempt(_send_email_task_id, _facts.attempts + 1);
        _decision := 'attempt_scheduled';
    end if;

    -- the next check, each time later
    perform comms.schedule_email_check(_send_email_task_id, _facts.last_check + 1, now() + _facts.next_delay);

    return jsonb_build_object(
        'status', 'succeeded',
        'payload', jsonb_build_object('decision', _decision, 'next_check_at', now() + _facts.next_delay)
    );
end;
$$;
