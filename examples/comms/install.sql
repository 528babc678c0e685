-- Installs the example into the current database, all of it or nothing:
--
--     psql -d app -f examples/comms/install.sql
--
-- Run it as a superuser (it creates the roles comms_owner and comms_app), after `create extension pg_errand`.

\set ON_ERROR_STOP on
\set QUIET on

begin;

\ir 00_schema.sql

-- from here on everything belongs to comms_owner, so that `security definer` never means superuser
set local role comms_owner;

\ir 10_messages.sql
\ir 20_facts.sql
\ir 30_email_facts.sql
\ir 31_email_handlers.sql
\ir 32_email_supervisor.sql
\ir 40_sms_facts.sql
\ir 41_sms_handlers.sql
\ir 42_sms_supervisor.sql
\ir 50_send.sql
\ir 60_delivery.sql
\ir 70_resume.sql
\ir 80_reports.sql
\ir 90_grants.sql

commit;

\echo 'comms is installed. Next: demo.sql, then show.sql.'
