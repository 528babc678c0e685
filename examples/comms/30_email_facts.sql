-- E-mail: the facts that the supervisor and the handlers need. Each function returns one of them and changes nothing.

-- the number of attempts that were enqueued
create function comms.count_email_attempts(_send_email_task_id bigint)
returns integer
language sql
stable
as $$
    select count(*)::integer
    from comms.send_email_task_scheduled
    where send_email_task_id = _send_email_task_id;
$$;

-- the number of attempts that failed
create function comms.count_email_failures(_send_email_task_id bigint)
returns integer
language sql
stable
as $$
    select count(*)::integer
    from comms.send_email_task_failed
    where send_email_task_id = _send_email_task_id;
$$;

-- whether an attempt succeeded
create function comms.is_email_delivered(_send_email_task_id bigint)
returns boolean
language sql
stable
as $$
    select exists (
        select 1
        from comms.send_email_task_succeeded
        where send_email_task_id = _send_email_task_id
    );
$$;

-- whether the attempt exists, so that a fact about it can be recorded
create function comms.is_email_attempt(_send_email_task_id bigint, _attempt bigint)
returns boolean
language sql
stable
as $$
    select exists (
        select 1
        from comms.send_email_task_scheduled
        where send_email_task_id = _send_email_task_id
          and attempt = _attempt
    );
$$;

-- the attempt whose task has ended without a fact, and its status: the task was cancelled, or its handler failed
create function comms.lost_email_attempt(
    _send_email_task_id bigint,
    out attempt integer,
    out status text
)
language sql
stable
as $$
    select scheduled.attempt, coalesce(task.status, 'removed')
    from comms.send_email_task_scheduled scheduled
    cross join (select outcome_grace from comms.policy where channel = 'email') policy
    left join queues.task_status task using (task_id)
    where scheduled.send_email_task_id = _send_email_task_id
      and not exists (
          select 1
          from comms.send_email_task_succeeded succeeded
          where succeeded.send_email_task_id = scheduled.send_email_task_id
            and succeeded.attempt = scheduled.attempt
      )
      and not exists (
          select 1
          from comms.send_email_task_failed failed
          where failed.send_email_task_id = scheduled.send_email_task_id
            and failed.attempt = scheduled.attempt
      )
      and (
          task.status is null
          or task.status in ('succeeded', 'failed', 'cancelled')
             and task.finished_at <= now() - policy.outcome_grace
      )
    order by scheduled.attempt
    limit 1;
$$;

-- all facts in one snapshot, on which the supervisor decides. Call it to see what the supervisor would see
create function comms.send_email_facts(
    _send_email_task_id bigint,
    out max_attempts integer,
    out attempts integer,
    out failures integer,
    out is_delivered boolean,
    out lost_attempt integer,
    out lost_status text,
    out last_check integer,
    out next_check_at timestamptz,
    out next_delay interval
)
language sql
stable
as $$
    select
        task.max_attempts,
        comms.count_email_attempts(task.send_email_task_id),
        comms.count_email_failures(task.send_email_task_id),
        comms.is_email_delivered(task.send_email_task_id),
        lost.attempt,
        lost.status,
        last_check.check_number,
        last_check.check_at,
        -- exponential backoff: base_delay, twice that, four times …, at most max_delay
        least(policy.base_delay * power(2, least(last_check.check_number, 30)), policy.max_delay)
    from comms.send_email_task task
    join comms.policy on policy.channel = 'email'
    cross join comms.lost_email_attempt(task.send_email_task_id) lost
    cross join lateral (
        select check_number, check_at
        from comms.send_email_task_check
        where send_email_task_id = task.send_email_task_id
        order by check_number desc
        limit 1
    ) last_check
    where task.send_email_task_id = _send_email_task_id;
$$;

-- the content of the message, from which the before handler builds the request
create function comms.email_content(_send_email_task_id bigint)
returns comms.email_message
language sql
stable
as $$
    select message
    from comms.send_email_task
    join comms.email_message message using (message_id)
    where send_email_task_id = _send_email_task_id;
$$;
