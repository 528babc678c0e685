-- Privileges. PUBLIC has none; only the owner has privileges on tables.

-- the role the workers run as
select coalesce(nullif(current_setting('pg_errand.role', true), ''), 'errand_worker') as worker_role
\gset

revoke all on schema comms from public;
revoke all on all tables in schema comms from public;
revoke all on all functions in schema comms from public;

-- workers: the functions that a task may name, and nothing else. Each of these is `security definer`
grant usage on schema comms to :"worker_role";
grant execute on function comms.send_email_supervisor(jsonb) to :"worker_role";
grant execute on function comms.build_email_request(jsonb) to :"worker_role";
grant execute on function comms.record_email_success(jsonb) to :"worker_role";
grant execute on function comms.record_email_failure(jsonb) to :"worker_role";
grant execute on function comms.send_sms_supervisor(jsonb) to :"worker_role";
grant execute on function comms.build_sms_request(jsonb) to :"worker_role";
grant execute on function comms.record_sms_success(jsonb) to :"worker_role";
grant execute on function comms.record_sms_failure(jsonb) to :"worker_role";
grant execute on function comms.resume_stalled(jsonb) to :"worker_role";
grant execute on function comms.daily_report(jsonb) to :"worker_role";
grant execute on function comms.reconcile_invoice(jsonb) to :"worker_role";
grant execute on function comms.record_incident(jsonb) to :"worker_role";

-- the application: sends messages and sees their states
grant usage on schema comms to comms_app;
grant execute on function comms.send_email(text, text, text, text, timestamptz) to comms_app;
grant execute on function comms.send_sms(text, text, timestamptz) to comms_app;
grant select on comms.delivery to comms_app;
