-- Entry points for an application: check the input, store the message, start its supervisor.
-- All of it is in the caller's transaction: rolled back with it, delivered only if it commits.

-- raises an error if a message cannot be due at _scheduled_at
create function comms.check_scheduled_at(_scheduled_at timestamptz)
returns void
language plpgsql
immutable
as $$
begin
    if not isfinite(_scheduled_at) then
        raise exception '_scheduled_at must be a point in time'
            using errcode = 'invalid_parameter_value';
    end if;
end;
$$;

-- sends an e-mail, not before _scheduled_at; returns the message's id.
-- Whether an address exists, or is one at all, is the provider's to say
create function comms.send_email(
    _from_address text,
    _to_address text,
    _subject text,
    _html text,
    _scheduled_at timestamptz default now()
)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _message_id bigint;
    _send_email_task_id bigint;
begin
    if coalesce(btrim(_from_address), '') = '' then
        raise exception '_from_address is missing'
            using errcode = 'invalid_parameter_value';
    end if;

    if coalesce(btrim(_to_address), '') = '' then
        raise exception '_to_address is missing'
            using errcode = 'invalid_parameter_value';
    end if;

    if coalesce(btrim(_subject), '') = '' or _subject ~ '[\r\n]' then
        raise exception '_subject must be one line of text'
            using errcode = 'invalid_parameter_value';
    end if;

    if coalesce(btrim(_html), '') = '' then
        raise exception '_html is missing'
            using errcode = 'invalid_parameter_value';
    end if;

    perform comms.check_scheduled_at(_scheduled_at);

    insert into comms.message (channel)
    values ('email')
    returning message_id into _message_id;

    insert into comms.email_message (message_id, from_address, to_address, subject, html)
    values (_message_id, btrim(_from_address), btrim(_to_address), _subject, _html);

    insert into comms.send_email_task (message_id, max_attempts)
    select _message_id, max_attempts
    from comms.policy
    where channel = 'email'
    returning send_email_task_id into strict _send_email_task_id;

    perform comms.schedule_email_check(_send_email_task_id, 0, coalesce(_scheduled_at, now()));

    return _message_id;
end;
$$;

-- sends an SMS, not before _scheduled_at; returns the message's id
create function comms.send_sms(
    _to_number text,
    _body text,
    _scheduled_at timestamptz default now()
)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _message_id bigint;
    _send_sms_task_id bigint;
begin
    if _to_number is null or _to_number !~ '^\+[1-9][0-9]{6,14}$' then
        raise exception '_to_number is not an international telephone number'
            using errcode = 'invalid_parameter_value',
                  detail = format('It is %L.', _to_number),
                  hint = 'Write + and the country code, digits only: +4915112345678.';
    end if;

    if coalesce(btrim(_body), '') = '' or length(_body) > 1600 then
        raise exception '_body must have 1 to 1600 characters'
            using errcode = 'invalid_parameter_value';
    end if;

    perform comms.check_scheduled_at(_scheduled_at);

    insert into comms.message (channel)
    values ('sms')
    returning message_id into _message_id;

    insert into comms.sms_message (message_id, to_number, body)
    values (_message_id, _to_number, _body);

    insert into comms.send_sms_task (message_id, max_attempts)
    select _message_id, max_attempts
    from comms.policy
    where channel = 'sms'
    returning send_sms_task_id into strict _send_sms_task_id;

    perform comms.schedule_sms_check(_send_sms_task_id, 0, coalesce(_scheduled_at, now()));

    return _message_id;
end;
$$;
