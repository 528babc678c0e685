-- Sends a handful of messages and tasks; some of them fail on purpose. Then look with show.sql.
--
--     psql -d app -f demo.sql
--     psql -d app -v demo_from=me@my-domain.example -v demo_to=you@example.com -f demo.sql
--
-- Without a key of the e-mail provider (pg_errand.resend_api_key) the mails fail, too: that is shown as well.

\set ON_ERROR_STOP on
\set QUIET on
\pset footer off
\pset format aligned

\if :{?demo_from}
\else
\set demo_from 'onboarding@resend.dev'
\endif
\if :{?demo_to}
\else
\set demo_to 'delivered@resend.dev'
\endif

\echo
\echo '== Policy: short delays, so that the demo ends in seconds =='
update comms.policy
set max_attempts = 3,
    base_delay = '1 second',
    max_delay = '1 minute',
    outcome_grace = '5 seconds';

select channel, max_attempts, base_delay, max_delay
from comms.policy
order by channel;

\echo
\echo '== Messages, sent by an application (role comms_app) =='
begin;
set local role comms_app;

select
    'e-mail, now' as message,
    'delivered' as expected,
    comms.send_email(:'demo_from', :'demo_to', 'Hello from PostgreSQL', '<p>Sent by the database.</p>') as message_id
union all
select
    'e-mail, a second one',
    'delivered',
    comms.send_email(:'demo_from', :'demo_to', 'Hello again', '<p>Sent by the database, too.</p>')
union all
select
    'e-mail, in 3 seconds',
    'delivered, later',
    comms.send_email(
        :'demo_from',
        :'demo_to',
        'Hello, later',
        '<p>Not before its time.</p>',
        now() + interval '3 seconds'
    )
union all
select
    'e-mail to not-an-address',
    'refused (422) 3 times, given up',
    comms.send_email(:'demo_from', 'not-an-address', 'Hello, nobody', '<p>This one never arrives.</p>')
union all
select
    'SMS',
    'delivered',
    comms.send_sms('+4915112345678', 'Sent by the database.')
union all
select
    'SMS, in 2 seconds',
    'delivered, later',
    comms.send_sms('+4915112345679', 'Not before its time.', now() + interval '2 seconds');

commit;

\echo
\echo '== Tasks of other kinds =='
select
    'daily_report' as task,
    'succeeded' as expected,
    queues.enqueue('db_function', '{"task_type": "db_function", "db_function": "comms.daily_report"}') as task_id
union all
select
    'reconcile_invoice: raises, its error handler records an incident',
    'failed',
    queues.enqueue(
        'db_function',
        '{
            "task_type": "db_function",
            "db_function": "comms.reconcile_invoice",
            "error_handler": "comms.record_incident",
            "channel": "sms",
            "invoiced": 1000
        }'
    )
union all
select
    'a function that does not exist',
    'failed',
    queues.enqueue('db_function', '{"task_type": "db_function", "db_function": "comms.no_such_function"}')
union all
select
    'an e-mail without a before_handler',
    'failed',
    queues.enqueue('email', '{"task_type": "email", "success_handler": "comms.record_email_success"}');

\echo
\echo 'Now run show.sql, a few times. not-an-address is tried at once, after 1 and after 3 seconds, then given up.'
