-- The view for applications: a row per message. The state is derived from the facts, and not stored.

-- delivered: the provider accepted it. given_up: every attempt failed. pending: neither so far
create view comms.delivery as
select
    message.message_id,
    message.channel,
    content.to_address as recipient,
    case
        when succeeded.attempt is not null then 'delivered'
        when failed.failures >= task.max_attempts then 'given_up'
        else 'pending'
    end as state,
    scheduled.attempts,
    failed.last_error,
    succeeded.provider_message_id,
    message.created_at,
    succeeded.created_at as delivered_at,
    case
        when succeeded.attempt is null and failed.failures < task.max_attempts then next_check.check_at
    end as next_check_at
from comms.message
join comms.email_message content using (message_id)
join comms.send_email_task task using (message_id)
cross join lateral (
    select count(*)::integer as attempts
    from comms.send_email_task_scheduled
    where send_email_task_id = task.send_email_task_id
) scheduled
cross join lateral (
    select
        count(*)::integer as failures,
        (array_agg(error_message order by attempt desc))[1] as last_error
    from comms.send_email_task_failed
    where send_email_task_id = task.send_email_task_id
) failed
left join lateral (
    select attempt, provider_message_id, created_at
    from comms.send_email_task_succeeded
    where send_email_task_id = task.send_email_task_id
    order by attempt
    limit 1
) succeeded on true
left join lateral (
    select max(check_at) as check_at
    from comms.send_email_task_check
    where send_email_task_id = task.send_email_task_id
) next_check on true
union all
select
    message.message_id,
    message.channel,
    content.to_number as recipient,
    case
        when succeeded.attempt is not null then 'delivered'
        when failed.failures >= task.max_attempts then 'given_up'
        else 'pending'
    end as state,
    scheduled.attempts,
    failed.last_error,
    succeeded.provider_message_id,
    message.created_at,
    succeeded.created_at as delivered_at,
    case
        when succeeded.attempt is null and failed.failures < task.max_attempts then next_check.check_at
    end as next_check_at
from comms.message
join comms.sms_message content using (message_id)
join comms.send_sms_task task using (message_id)
cross join lateral (
    select count(*)::integer as attempts
    from comms.send_sms_task_scheduled
    where send_sms_task_id = task.send_sms_task_id
) scheduled
cross join lateral (
    select
        count(*)::integer as failures,
        (array_agg(error_message order by attempt desc))[1] as last_error
    from comms.send_sms_task_failed
    where send_sms_task_id = task.send_sms_task_id
) failed
left join lateral (
    select attempt, provider_message_id, created_at
    from comms.send_sms_task_succeeded
    where send_sms_task_id = task.send_sms_task_id
    order by attempt
    limit 1
) succeeded on true
left join lateral (
    select max(check_at) as check_at
    from comms.send_sms_task_check
    where send_sms_task_id = task.send_sms_task_id
) next_check on true;
