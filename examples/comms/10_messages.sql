-- The messages to deliver, and the policy for retries.

-- how a channel is retried: the only settings of the supervisors, stored as data
create table comms.policy (
    channel text primary key check (channel in ('email', 'sms')),
    -- the number of failed attempts after which a message is given up
    max_attempts integer not null check (max_attempts between 1 and 20),
    -- the delay of a check: base_delay, then twice that, four times …, at most max_delay
    base_delay interval not null check (base_delay > interval '0'),
    max_delay interval not null check (max_delay <= interval '7 days'),
    -- an attempt whose task ended this long ago without a fact will not leave one any more
    outcome_grace interval not null check (outcome_grace >= interval '0'),
    check (base_delay <= max_delay)
);

insert into comms.policy (channel, max_attempts, base_delay, max_delay, outcome_grace)
values
    ('email', 5, '30 seconds', '1 hour', '1 minute'),
    ('sms', 3, '10 seconds', '10 minutes', '1 minute');

-- a message of any channel; its content is in the table of the channel
create table comms.message (
    message_id bigint generated always as identity primary key,
    channel text not null check (channel in ('email', 'sms')),
    created_at timestamptz not null default now()
);

-- the content of an e-mail
create table comms.email_message (
    message_id bigint primary key references comms.message,
    from_address text not null,
    to_address text not null,
    subject text not null,
    html text not null
);

-- the content of an SMS
create table comms.sms_message (
    message_id bigint primary key references comms.message,
    to_number text not null,
    body text not null
);

-- the id under _key; null if it is missing or not an id
create function comms.payload_id(_payload jsonb, _key text)
returns bigint
language sql
immutable
as $$
    select case when _payload ->> _key ~ '^[0-9]{1,18}$' then (_payload ->> _key)::bigint end;
$$;
