-- Facts: what happened, one row each, never changed. Every table is append-only (see the triggers at the end).
--
--     send_*_task                a message was accepted for delivery
--     send_*_task_check          the supervisor will look at it at check_at
--     send_*_task_scheduled      an attempt was handed to the worker
--     send_*_task_succeeded      the provider took it
--     send_*_task_failed         it did not
--
-- Attempts are numbered per message and that number is in every key: recording a fact twice changes nothing, and two
-- supervisors can never schedule the same attempt.

-- e-mail: a message was accepted. A supervisor locks this row before it reads the facts
create table comms.send_email_task (
    send_email_task_id bigint generated always as identity primary key,
    message_id bigint not null unique references comms.email_message,
    -- a copy of the policy: a later change must not make a message pending again that was given up
    max_attempts integer not null,
    created_at timestamptz not null default now()
);

-- e-mail: a check of the supervisor was enqueued as task_id; number 0 is the first
create table comms.send_email_task_check (
    send_email_task_id bigint references comms.send_email_task,
    check_number integer,
    check_at timestamptz not null,
    task_id bigint not null,
    created_at timestamptz not null default now(),
    primary key (send_email_task_id, check_number)
);

-- e-mail: an attempt was enqueued as task_id (no foreign key, since retention removes tasks)
create table comms.send_email_task_scheduled (
    send_email_task_id bigint references comms.send_email_task,
    attempt integer,
    task_id bigint not null,
    created_at timestamptz not null default now(),
    primary key (send_email_task_id, attempt)
);

-- e-mail: an attempt succeeded; the provider's id is null if only the queue has recorded the success
create table comms.send_email_task_succeeded (
    send_email_task_id bigint,
    attempt integer,
    provider_message_id text,
    created_at timestamptz not null default now(),
    primary key (send_email_task_id, attempt),
    foreign key (send_email_task_id, attempt) references comms.send_email_task_scheduled
);

-- e-mail: an attempt failed
create table comms.send_email_task_failed (
    send_email_task_id bigint,
    attempt integer,
    error_message text not null,
    created_at timestamptz not null default now(),
    primary key (send_email_task_id, attempt),
    foreign key (send_email_task_id, attempt) references comms.send_email_task_scheduled
);

-- SMS: a message was accepted. A supervisor locks this row before it reads the facts
create table comms.send_sms_task (
    send_sms_task_id bigint generated always as identity primary key,
    message_id bigint not null unique references comms.sms_message,
    -- a copy of the policy: a later change must not make a message pending again that was given up
    max_attempts integer not null,
    created_at timestamptz not null default now()
);

-- SMS: a check of the supervisor was enqueued as task_id; number 0 is the first
create table comms.send_sms_task_check (
    send_sms_task_id bigint references comms.send_sms_task,
    check_number integer,
    check_at timestamptz not null,
    task_id bigint not null,
    created_at timestamptz not null default now(),
    primary key (send_sms_task_id, check_number)
);

-- SMS: an attempt was enqueued as task_id (no foreign key, since retention removes tasks)
create table comms.send_sms_task_scheduled (
    send_sms_task_id bigint references comms.send_sms_task,
    attempt integer,
    task_id bigint not null,
    created_at timestamptz not null default now(),
    primary key (send_sms_task_id, attempt)
);

-- SMS: an attempt succeeded; the provider's id is null if only the queue has recorded the success
create table comms.send_sms_task_succeeded (
    send_sms_task_id bigint,
    attempt integer,
    provider_message_id text,
    created_at timestamptz not null default now(),
    primary key (send_sms_task_id, attempt),
    foreign key (send_sms_task_id, attempt) references comms.send_sms_task_scheduled
);

-- SMS: an attempt failed
create table comms.send_sms_task_failed (
    send_sms_task_id bigint,
    attempt integer,
    error_message text not null,
    created_at timestamptz not null default now(),
    primary key (send_sms_task_id, attempt),
    foreign key (send_sms_task_id, attempt) references comms.send_sms_task_scheduled
);

-- trigger function: refuses changes of facts
create function comms.refuse_change()
returns trigger
language plpgsql
as $$
begin
    raise exception 'comms.% is append-only: % is refused', tg_table_name, lower(tg_op)
        using errcode = 'insufficient_privilege',
              hint = format('To prune old facts: ALTER TABLE comms.%I DISABLE TRIGGER append_only.', tg_table_name);
end;
$$;

-- creates the trigger append_only on every table of facts
do $$
declare
    _table text;
begin
    foreach _table in array array[
        'send_email_task', 'send_email_task_check', 'send_email_task_scheduled', 'send_email_task_succeeded',
        'send_email_task_failed',
        'send_sms_task', 'send_sms_task_check', 'send_sms_task_scheduled', 'send_sms_task_succeeded',
        'send_sms_task_failed'
    ]
    loop
        execute format(
            'create trigger append_only before update or delete or truncate on comms.%I '
            'for each statement execute function comms.refuse_change()',
            _table
        );
    end loop;
end
$$;
