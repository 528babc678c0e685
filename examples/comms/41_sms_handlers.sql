-- SMS: the three handlers of an `sms` task. They run as the worker's role, hence `security definer`.
-- The handlers return the envelope {success, error, validation_failure_message, payload}; absent fields are null.

-- before handler: builds the provider's request; unless it returns success, the provider is not called
create function comms.build_sms_request(_payload jsonb)
returns jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _send_sms_task_id bigint := comms.payload_id(_payload, 'send_sms_task_id');
    _message comms.sms_message;
begin
    _message := comms.sms_content(_send_sms_task_id);

    if _message.message_id is null then
        return jsonb_build_object(
            'success', false,
            'validation_failure_message', 'message not found'
        );
    end if;

    -- the last check before the effect: an earlier attempt may have reported its success late
    if comms.is_sms_delivered(_send_sms_task_id) then
        return jsonb_build_object(
            'success', false,
            'validation_failure_message', 'the message has been delivered already'
        );
    end if;

    return jsonb_build_object(
        'success', true,
        'payload', jsonb_build_object(
            'message_id', _message.message_id,
            'to_number', _message.to_number,
            'body', _message.body
        )
    );
end;
$$;

-- effect: records that the attempt succeeded; a second time changes nothing
create function comms.add_sms_success(_send_sms_task_id bigint, _attempt bigint, _provider_message_id text)
returns void
language sql
as $$
    insert into comms.send_sms_task_succeeded (send_sms_task_id, attempt, provider_message_id)
    values (_send_sms_task_id, _attempt, _provider_message_id)
    on conflict do nothing;
$$;

-- effect: records that the attempt failed; a second time changes nothing
create function comms.add_sms_failure(_send_sms_task_id bigint, _attempt bigint, _error_message text)
returns void
language sql
as $$
    insert into comms.send_sms_task_failed (send_sms_task_id, attempt, error_message)
    values (_send_sms_task_id, _attempt, coalesce(nullif(_error_message, ''), 'no reason given'))
    on conflict do nothing;
$$;

-- success handler, receives {original_payload, worker_payload}: records the success and the provider's id
create function comms.record_sms_success(_payload jsonb)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _send_sms_task_id bigint := comms.payload_id(_payload -> 'original_payload', 'send_sms_task_id');
    _attempt bigint := comms.payload_id(_payload -> 'original_payload', 'attempt');
begin
    if not comms.is_sms_attempt(_send_sms_task_id, _attempt) then
        return jsonb_build_object(
            'success', false,
            'validation_failure_message', 'unknown attempt'
        );
    end if;

    perform comms.add_sms_success(
        _send_sms_task_id,
        _attempt,
        coalesce(_payload -> 'worker_payload' ->> 'message_id', _payload -> 'worker_payload' ->> 'sid')
    );

    return jsonb_build_object('success', true);
end;
$$;

-- error handler, receives {original_payload, error}: records the failure and its reason
create function comms.record_sms_failure(_payload jsonb)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _send_sms_task_id bigint := comms.payload_id(_payload -> 'original_payload', 'send_sms_task_id');
    _attempt bigint := comms.payload_id(_payload -> 'original_payload', 'attempt');
begin
    if not comms.is_sms_attempt(_send_sms_task_id, _attempt) then
        return jsonb_build_object(
            'success', false,
            'validation_failure_message', 'unknown attempt'
        );
    end if;

    perform comms.add_sms_failure(_send_sms_task_id, _attempt, _payload ->> 'error');

    return jsonb_build_object('success', true);
end;
$$;
