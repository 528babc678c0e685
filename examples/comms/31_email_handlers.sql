-- E-mail: the three handlers of an `email` task. They run as the worker's role, hence `security definer`.
-- The handlers return the envelope {status, payload}; status 'succeeded' is success.

-- before handler: builds the provider's request; unless it returns success, the provider is not called
create function comms.build_email_request(_payload jsonb)
returns jsonb
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _send_email_task_id bigint := comms.payload_id(_payload, 'send_email_task_id');
    _message comms.email_message;
begin
    _message := comms.email_content(_send_email_task_id);

    if _message.message_id is null then
        return jsonb_build_object('status', 'message_not_found');
    end if;

    -- the last check before the effect: an earlier attempt may have reported its success late
    if comms.is_email_delivered(_send_email_task_id) then
        return jsonb_build_object('status', 'already_delivered');
    end if;

    return jsonb_build_object(
        'status', 'succeeded',
        'payload', jsonb_build_object(
            'message_id', _message.message_id,
            'from_address', _message.from_address,
            'to_address', _message.to_address,
            'subject', _message.subject,
            'html', _message.html
        )
    );
end;
$$;

-- effect: records that the attempt succeeded; a second time changes nothing
create function comms.add_email_success(_send_email_task_id bigint, _attempt bigint, _provider_message_id text)
returns void
language sql
as $$
    insert into comms.send_email_task_succeeded (send_email_task_id, attempt, provider_message_id)
    values (_send_email_task_id, _attempt, _provider_message_id)
    on conflict do nothing;
$$;

-- effect: records that the attempt failed; a second time changes nothing
create function comms.add_email_failure(_send_email_task_id bigint, _attempt bigint, _error_message text)
returns void
language sql
as $$
    insert into comms.send_email_task_failed (send_email_task_id, attempt, error_message)
    values (_send_email_task_id, _attempt, coalesce(nullif(_error_message, ''), 'no reason given'))
    on conflict do nothing;
$$;

-- success handler, receives {original_payload, worker_payload}: records the success and the provider's id
create function comms.record_email_success(_payload jsonb)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _send_email_task_id bigint := comms.payload_id(_payload -> 'original_payload', 'send_email_task_id');
    _attempt bigint := comms.payload_id(_payload -> 'original_payload', 'attempt');
begin
    if not comms.is_email_attempt(_send_email_task_id, _attempt) then
        return jsonb_build_object('status', 'unknown_attempt');
    end if;

    perform comms.add_email_success(
        _send_email_task_id,
        _attempt,
        _payload -> 'worker_payload' ->> 'id'
    );

    return jsonb_build_object('status', 'succeeded');
end;
$$;

-- error handler, receives {original_payload, error}: records the failure and its reason
create function comms.record_email_failure(_payload jsonb)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _send_email_task_id bigint := comms.payload_id(_payload -> 'original_payload', 'send_email_task_id');
    _attempt bigint := comms.payload_id(_payload -> 'original_payload', 'attempt');
begin
    if not comms.is_email_attempt(_send_email_task_id, _attempt) then
        return jsonb_build_object('status', 'unknown_attempt');
    end if;

    perform comms.add_email_failure(_send_email_task_id, _attempt, _payload ->> 'error');

    return jsonb_build_object('status', 'succeeded');
end;
$$;
