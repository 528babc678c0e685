-- The objects that benchmarks need in their database.
create schema bench;
grant usage on schema bench to errand_worker;

create function bench.nothing(jsonb)
returns jsonb
language plpgsql
as $$
begin
    return '{}';
end;
$$;

-- A row for each task, which is counted.
create table bench.effect (
    n bigint
);
grant insert on bench.effect to errand_worker;

create function bench.effect(_payload jsonb)
returns jsonb
language plpgsql
as $$
begin
    insert into bench.effect values ((_payload ->> 'n')::bigint);
    return '{}';
end;
$$;

-- The time just before the commit of a task, if its payload contains it, and the time at which its handler began.
create table bench.pickup (
    n bigint,
    enqueued_at timestamptz,
    started_at timestamptz
);
grant insert on bench.pickup to errand_worker;

create function bench.start(_payload jsonb)
returns jsonb
language plpgsql
as $$
declare
    _started_at timestamptz := clock_timestamp();
begin
    insert into bench.pickup
    values ((_payload ->> 'n')::bigint, (_payload ->> 'at')::timestamptz, _started_at);
    return '{}';
end;
$$;

create function bench.rest(_payload jsonb)
returns jsonb
language plpgsql
as $$
begin
    perform pg_sleep((_payload ->> 'seconds')::float8);
    return '{}';
end;
$$;

-- A plain table, to measure the capacity of the machine without a queue.
create table bench.reference (
    id bigint generated always as identity primary key,
    payload jsonb not null,
    at timestamptz not null default now()
);

-- A mail, for provider calls against the stand-in.
create function bench.mail(jsonb)
returns jsonb
language plpgsql
as $$
begin
    return jsonb_build_object(
        'status', 'succeeded',
        'payload', jsonb_build_object(
            'message_id', 1,
            'from_address', 'sender@mail.test',
            'to_address', 'someone@mail.test',
            'subject', 'Hello',
            'html', '<p>Hello</p>'));
end;
$$;

-- Counts a mail that the provider has accepted.
create function bench.mailed(_payload jsonb)
returns jsonb
language plpgsql
as $$
begin
    insert into bench.effect values ((_payload -> 'original_payload' ->> 'n')::bigint);
    return '{}';
end;
$$;

-- A message, for calls that are only logged.
create function bench.message(jsonb)
returns jsonb
language sql
as $$
    select '{"payload": {"message_id": 1, "to_number": "+4915112345678", "body": "Your table is reserved."}}'::jsonb;
$$;

create function bench.refuse(jsonb)
returns jsonb
language plpgsql
as $$
begin
    raise exception 'the customer does not exist';
end;
$$;
