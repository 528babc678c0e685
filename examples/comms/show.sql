-- Shows what happened so far: messages, tasks, errors, workers. Reads only; run it as often as you like.
--
--     psql -d app -f show.sql

\set ON_ERROR_STOP on
\set QUIET on
\pset footer off
\pset format wrapped
\pset columns 116
\pset null '-'
\pset linestyle unicode

\echo
\echo '== Deliveries: what the application sees =='
select
    message_id as id,
    channel,
    recipient,
    state,
    attempts,
    coalesce(provider_message_id, left(last_error, 160)) as "provider id, or last error",
    to_char(next_check_at, 'HH24:MI:SS') as next_check
from comms.delivery
order by message_id desc
limit 20;

\echo
\echo '== Tasks, newest first =='
select
    task_status.task_id as task,
    task_status.task_type as type,
    coalesce(
        task.payload ->> 'db_function',
        'attempt ' || (task.payload ->> 'attempt'),
        '(no ids)'
    ) as what,
    coalesce(task.payload ->> 'send_email_task_id', task.payload ->> 'send_sms_task_id') as of,
    task_status.status,
    task_status.attempts,
    to_char(task_status.scheduled_at, 'HH24:MI:SS') as scheduled,
    to_char(task_status.started_at, 'HH24:MI:SS.MS') as started,
    round(extract(epoch from task_status.finished_at - task_status.started_at) * 1000, 1) as ms
from queues.task_status
join queues.task using (task_id)
order by task_status.task_id desc
limit 40;

\echo
\echo '== Tasks, counted =='
select
    task_type as type,
    status,
    count(*)
from queues.task_status
group by task_type, status
order by task_type, status;

\echo
\echo '== Errors, newest first =='
select
    error_id as error,
    task_id as task,
    to_char(created_at, 'HH24:MI:SS') as at,
    left(error_message, 400) as error_message
from queues.error
order by error_id desc
limit 12;

\echo
\echo '== Incidents: what an error handler recorded =='
select
    incident_id as id,
    to_char(created_at, 'HH24:MI:SS') as at,
    original_payload ->> 'db_function' as db_function,
    left(error_message, 300) as error_message
from comms.incident
order by incident_id desc
limit 5;

\echo
\echo '== Daily report =='
select report_date, channel, accepted, delivered, given_up, pending
from comms.report
order by report_date desc, channel
limit 4;

\echo
\echo '== Workers: processes of this server, as pg_stat_activity and queues.worker see them =='
select
    activity.pid,
    activity.backend_type,
    activity.application_name,
    activity.state,
    worker.state as worker,
    worker.in_flight as flight,
    worker.succeeded as ok,
    worker.failed,
    left(activity.query, 60) as query
from pg_catalog.pg_stat_activity activity
left join queues.worker using (pid)
where activity.backend_type in ('pg_errand launcher', 'pg_errand worker')
  and (activity.datname = current_database() or activity.datname is null)
order by activity.backend_type, activity.pid;
