-- Plain db_function tasks: no provider, one transaction.

-- the counts of daily_report: the messages accepted on a day, and their states
create table comms.report (
    report_date date,
    channel text check (channel in ('email', 'sms')),
    accepted integer not null,
    delivered integer not null,
    given_up integer not null,
    pending integer not null,
    created_at timestamptz not null default now(),
    primary key (report_date, channel)
);

-- problems that an operator should look at
create table comms.incident (
    incident_id bigint generated always as identity primary key,
    error_message text not null,
    original_payload jsonb not null,
    created_at timestamptz not null default now()
);

-- fact: the number of messages of a channel that were delivered
create function comms.count_delivered(_channel text)
returns bigint
language sql
stable
as $$
    select count(*)
    from comms.delivery
    where channel = _channel
      and state = 'delivered';
$$;

-- db_function: counts the messages of {report_date}, by default today; may be run again
create function comms.daily_report(_payload jsonb)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _report_date date := coalesce((_payload ->> 'report_date')::date, current_date);
    _channels integer;
begin
    insert into comms.report (report_date, channel, accepted, delivered, given_up, pending)
    select
        _report_date,
        policy.channel,
        count(delivery.message_id),
        count(*) filter (where delivery.state = 'delivered'),
        count(*) filter (where delivery.state = 'given_up'),
        count(*) filter (where delivery.state = 'pending')
    from comms.policy
    left join comms.delivery
        on delivery.channel = policy.channel
       and delivery.created_at >= _report_date
       and delivery.created_at < _report_date + 1
    group by policy.channel
    on conflict (report_date, channel) do update
    set accepted = excluded.accepted,
        delivered = excluded.delivered,
        given_up = excluded.given_up,
        pending = excluded.pending,
        created_at = excluded.created_at;

    get diagnostics _channels = row_count;

    return jsonb_build_object(
        'status', 'succeeded',
        'payload', jsonb_build_object('report_date', _report_date, 'channels', _channels)
    );
end;
$$;

-- db_function: raises if a provider invoiced {channel, invoiced} messages and not as many were delivered
create function comms.reconcile_invoice(_payload jsonb)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _channel text := _payload ->> 'channel';
    _invoiced bigint := comms.payload_id(_payload, 'invoiced');
    _delivered bigint := comms.count_delivered(_channel);
begin
    if _channel is null or _invoiced is null then
        return jsonb_build_object('status', 'channel_or_invoiced_missing');
    end if;

    if _invoiced <> _delivered then
        raise exception 'the invoice for channel "%" does not match what was delivered', _channel
            using errcode = 'data_exception',
                  detail = format('Invoiced: %s. Delivered: %s.', _invoiced, _delivered),
                  hint = 'Compare the provider''s list with comms.delivery before paying.';
    end if;

    return jsonb_build_object('status', 'succeeded');
end;
$$;

-- error handler, receives {original_payload, error}: records the failure for an operator
create function comms.record_incident(_payload jsonb)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into comms.incident (error_message, original_payload)
    values (
        coalesce(_payload ->> 'error', 'no reason given'),
        coalesce(_payload -> 'original_payload', '{}')
    );

    return jsonb_build_object('status', 'succeeded');
end;
$$;
