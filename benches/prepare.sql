-- What the benchmarks need in their database.
create schema bench;
grant usage on schema bench to pg_errand_worker;

create function bench.nothing(jsonb)
returns jsonb
language plpgsql
as $$
begin
    return '{}';
end;
$$;

-- When a task was about to be committed, and when its handler began.
create table bench.pickup (
    enqueued_at timestamptz,
    started_at timestamptz
);
grant insert on bench.pickup to pg_errand_worker;

create function bench.start(_payload jsonb)
returns jsonb
language plpgsql
as $$
declare
    _started_at timestamptz := clock_timestamp();
begin
    insert into bench.pickup values ((_payload ->> 'at')::timestamptz, _started_at);
    return '{}';
end;
$$;

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
