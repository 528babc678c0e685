-- Enqueues a task that sends a POST request with a JSON body.
create function queues.http_post(
    _url text,
    _body jsonb default '{}',
    _headers jsonb default '{}',
    _scheduled_at timestamptz default now()
)
returns bigint
language sql
as $$
    select queues.enqueue(
        'http',
        pg_catalog.jsonb_build_object(
            'task_type', 'http',
            'request', pg_catalog.jsonb_build_object(
                'method', 'POST',
                'url', _url,
                'headers', _headers,
                'body', pg_catalog.jsonb_build_object('json', _body)
            )
        ),
        _scheduled_at
    );
$$;

-- Enqueues a task that sends a GET request.
create function queues.http_get(
    _url text,
    _headers jsonb default '{}',
    _scheduled_at timestamptz default now()
)
returns bigint
language sql
as $$
    select queues.enqueue(
        'http',
        pg_catalog.jsonb_build_object(
            'task_type', 'http',
            'request', pg_catalog.jsonb_build_object('method', 'GET', 'url', _url, 'headers', _headers)
        ),
        _scheduled_at
    );
$$;

-- Returns the response of a provider, in the form that the success handler receives. For a call that failed, returns
-- {"error": …} with the response if there was one. Returns null if the task has no call, or no response yet.
create function queues.result(task_id bigint)
returns jsonb
stable
language sql
security definer
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(
        c.response,
        jsonb_build_object('error', c.failure -> 'message')
            || case jsonb_typeof(c.failure -> 'response') when 'object' then c.failure -> 'response' else '{}' end
    )
    from only queues.call c
    where c.task_id = result.task_id
        and c.responded_at is not null
        -- Otherwise the response was redacted.
        and (c.response is not null or c.failure is not null);
$$;
