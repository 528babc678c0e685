-- The problems of this database and of the server, as far as they concern its tasks. It reads settings files and the
-- tables of the extension with the privileges of the owner, and returns no payload, no message of a task and no secret. Without
-- JIT, which takes longer than the query.
create function errand.health(
    out problem text,
    out severity text,
    out subject text,
    out explanation text,
    out until timestamptz,
    out hint text
)
returns setof record
volatile
rows 10
language sql
security definer
set search_path = pg_catalog, pg_temp
set jit = off
as $$
    with waiting as materialized (
        -- the tasks that wait; only read if something is found that they may wait for
        select
            w.task_type,
            coalesce(d.provider, current_setting(d.provider_setting, true)) as provider,
            w.reason,
            w.tasks
        from errand.waiting() w
        left join only queues.task_definition d on d.task_type = w.task_type
        union all
        select null, s.name, 'call_queued', s.queued
        from queues.provider_status s
        where s.queued > 0
    ),
    failed as materialized (
        select e.error_message
        from (
            select l.error_message, l.created_at
            from only queues.error l
            order by l.error_id desc
            limit 1000
        ) e
        where e.created_at > clock_timestamp() - interval '1 day'
    ),
    restart (hint) as materialized (
        -- the configuration has a larger value already
        select format('max_worker_processes = %s is set in the file; restart the server.', f.setting)
        from pg_settings s
        cross join lateral (
            select l.setting
            from pg_file_settings l
            where l.name = s.name
            order by l.seqno desc
            limit 1
        ) f
        where s.name = 'max_worker_processes'
            and s.pending_restart
            and case when f.setting ~ '^[0-9]{1,9}$' then f.setting::integer > s.setting::integer end
    )
    select
        w.problem,
        'error',
        current_database()::text,
        w.explanation,
        w.until,
        case
            when w.problem = 'no_process' then coalesce((select r.hint from restart r), w.hint)
            else w.hint
        end
    from pg_extension e
    cross join lateral errand.problems_of_workers(e.extversion) w
    where e.extname = 'pg_errand'

    union all
    select
        'database_paused',
        'warning',
        current_database()::text,
        format('Role "%s" has paused the database at %s%s.', p.paused_by, p.paused_at, ': ' || p.reason),
        p.paused_until,
        'Run: SELECT queues.resume();'
    from only queues.paused p
    where p.task_type is null
        and p.provider is null
        and (p.paused_until is null or p.paused_until > clock_timestamp())

    union all
    select
        'type_paused',
        'warning',
        p.task_type,
        format(
            'Role "%s" has paused task type "%s" at %s%s; tasks that wait: %s.',
            p.paused_by, p.task_type, p.paused_at, ': ' || p.reason, w.tasks
        ),
        p.paused_until,
        format('Run: SELECT queues.resume(%L);', p.task_type)
    from only queues.paused p
    cross join lateral (
        select sum(w.tasks)
        from waiting w
        where w.task_type = p.task_type
            and w.reason = 'type_paused'
    ) as w (tasks)
    where p.task_type is not null
        and (p.paused_until is null or p.paused_until > clock_timestamp() + interval '1 hour')
        and w.tasks > 0

    union all
    select
        'provider_paused_by_operator',
        'warning',
        p.provider,
        format(
            'Role "%s" has paused provider "%s" at %s%s; tasks that wait: %s.',
            p.paused_by, p.provider, p.paused_at, ': ' || p.reason, w.tasks
        ),
        p.paused_until,
        format('Run: SELECT queues.resume_provider(%L);', p.provider)
    from only queues.paused p
    cross join lateral (
        select sum(w.tasks)
        from waiting w
        where w.provider = p.provider
            and w.reason in ('provider_paused_by_operator', 'call_queued')
    ) as w (tasks)
    where p.provider is not null
        and (p.paused_until is null or p.paused_until > clock_timestamp() + interval '1 hour')
        and w.tasks > 0

    union all
    select
        'breaker_open',
        case
            when exists (
                select 1
                from waiting w
                where w.provider = p.name
                    and w.reason in ('breaker_open', 'call_queued')
            ) then 'error'
            else 'warning'
        end,
        p.name,
        format('The circuit breaker of provider "%s" is open after %s failures.', p.name, p.consecutive_failures),
        p.breaker_until,
        format(
            'See queues.provider_status, and queues.failures(). To close the circuit breaker, run: UPDATE queues.provider SET name = name WHERE name = %L;',
            p.name
        )
    from errand.provider_state() p
    where p.breaker = 'open'

    union all
    select 'handlers_blocked', l.severity, l.subject, l.explanation, null, l.hint
    from errand.problems_of_locks() l

    union all
    -- Most databases use few of the built-in providers, so these matter only if tasks have failed.
    select
        'secret_missing',
        case
            when f.has_failed or exists (select 1 from waiting w where w.provider = p.name) then 'error'
            else 'warning'
        end,
        p.name,
        format('No request can be sent to provider "%s": %s.', p.name, p.secret_problem),
        null,
        'The secret is looked up for each request. Once it is there, run failed tasks again with queues.retry_failed, and failed retries with _retries => true.'
    from errand.provider_state() p
    join only queues.provider r on r.name = p.name
    cross join lateral (
        select exists (select 1 from failed f where position(p.secret_problem in f.error_message) > 0)
    ) as f (has_failed)
    where p.secret_problem is not null
        and (f.has_failed or not r.built_in)

    union all
    select
        'definition_unusable',
        'error',
        null,
        d.explanation,
        null,
        d.hint
    from errand.problems_of_definitions() d

    union all
    select
        'role_lacks_rights',
        'warning',
        r.name,
        format('Role "%s" lacks privileges of the extension that handlers need to enqueue tasks.', r.name),
        null,
        'Run: ' || g.statements
    from (select errand.worker_role()) r (name)
    cross join lateral errand.missing_grants(r.name) g (statements)

    union all
    select
        'unadopted_tasks',
        'warning',
        current_database()::text,
        format(
            '%s tasks came from another database, enqueued there from %s to %s (types: %s); they do not run here.',
            u.tasks, u.first_enqueued_at, u.last_enqueued_at, array_to_string(u.task_types[:10], ', ')
        ),
        null,
        format(
            'If that database will not run them, run: SELECT queues.adopt(); if it does, run: DELETE FROM queues.task WHERE origin = %s AND finished_at IS NULL;',
            u.origin
        )
    from errand.unadopted() u

    union all
    select
        'retention_behind',
        'warning',
        'task ' || o.task_id,
        format('Task %s ended at %s and should have been removed.', o.task_id, o.finished_at),
        null,
        'See the server log for tasks that cannot be removed, such as those to which a foreign key refers.'
    from errand.most_overdue() o
    -- Workers remove tasks up to an hour later than they may, many at once.
    where o.overdue > interval '2 hours'

    union all
    select
        'clock_set_back',
        'warning',
        'task ' || latest.task_id,
        format('Task %s was enqueued at %s, which is in the future: the clock of the server was set back.', latest.task_id, latest.enqueued_at),
        latest.enqueued_at,
        'Tasks that were enqueued before wait until the clock shows their time again. To run them now, set scheduled_at of the waiting ones to now().'
    from (
        select t.task_id, t.enqueued_at
        from (
            select last.task_id, last.enqueued_at, last.finished_at
            from only queues.task last
            order by last.task_id desc
            limit 100
        ) t
        where t.enqueued_at > clock_timestamp() + interval '10 seconds'
            and t.finished_at is null
        order by t.enqueued_at desc
        limit 1
    ) latest

    union all
    select
        'setting_not_applied',
        'warning',
        f.name,
        -- A text may be a secret, and the value of an unknown setting, too.
        format(
            case
                when f.name is null then '%s line %s cannot be read, so that no change of the configuration is applied: syntax error.'
                else '%s line %s sets %s%s, which is not applied: %s.'
            end,
            f.sourcefile,
            f.sourceline,
            f.name,
            case when s.vartype <> 'string' then format(' to "%s"', f.setting) end,
            case
                when s.name is null then 'there is no such setting'
                when s.context = 'postmaster' then 'it needs a restart'
                when s.vartype in ('integer', 'real') then format('a number from %s to %s is required%s', s.min_val, concat_ws(' ', s.max_val, s.unit), case when s.unit is not null then ', or one with another unit' else '' end)
                when s.vartype = 'bool' then 'on or off is required'
                when s.vartype = 'enum' then format('one of %s is required', array_to_string(s.enumvals, ', '))
                else 'the value is not valid'
            end
        ),
        null,
        case
            when s.context = 'postmaster' then 'Restart the server.'
            when s.unit in ('ms', 's') then format(
                'Write the time with a unit (us, ms, s, min, h, d), such as %s = ''%s'', then run: SELECT pg_reload_conf();',
                f.name,
                case s.unit when 's' then '7d' else '30s' end
            )
            when s.unit = 'B' then format(
                'Write the size with a unit (B, kB, MB, GB, TB), such as %s = ''1MB'', then run: SELECT pg_reload_conf();',
                f.name
            )
            else 'Correct the file, then run: SELECT pg_reload_conf();'
        end
    from pg_file_settings f
    left join pg_settings s on s.name = f.name
    where (f.name is null or f.name like 'pg\_errand.%' or f.name = 'shared_preload_libraries' and f.setting like '%pg\_errand%')
        and f.error is not null
        and not exists (
            select 1
            from pg_file_settings later
            where later.name = f.name
                and later.seqno > f.seqno
                and later.applied
        )

    union all
    select
        'too_few_workers',
        'warning',
        'pg_errand.concurrency',
        format(
            'pg_errand.concurrency is %s, but pg_errand.max_workers allows %s workers for all databases.',
            s.concurrency, s.max_workers
        ),
        null,
        'Raise pg_errand.max_workers, or lower pg_errand.concurrency.'
    from (
        select
            current_setting('pg_errand.concurrency', true)::integer,
            current_setting('pg_errand.max_workers', true)::integer
    ) as s (concurrency, max_workers)
    where s.concurrency > s.max_workers

    union all
    select
        'too_few_processes',
        'warning',
        'max_worker_processes',
        format(
            'max_worker_processes is %s, and the launcher%s and pg_errand.max_workers need %s.',
            s.processes,
            case when s.others > 0 then ', that of logical replication' else '' end,
            s.max_workers + 1 + s.others
        ),
        null,
        coalesce(
            (select r.hint from restart r),
            'Raise max_worker_processes (this needs a restart of the server), which parallel queries and replication share, or lower pg_errand.max_workers.'
        )
    from (
        select
            current_setting('max_worker_processes')::integer,
            current_setting('pg_errand.max_workers', true)::integer,
            -- the launcher of logical replication
            least(current_setting('max_logical_replication_workers')::integer, 1)
    ) as s (processes, max_workers, others)
    where s.processes < s.max_workers + 1 + s.others

    union all
    select
        'autovacuum_off',
        'warning',
        c.name,
        format('autovacuum is off for %s, so dead rows of ended tasks stay.', c.name),
        null,
        case
            when current_setting('autovacuum')::boolean then format('Run: ALTER TABLE %s RESET (autovacuum_enabled);', c.name)
            else 'Turn the setting autovacuum on.'
        end
    from (
        select t.oid::regclass::text, t.reloptions
        from pg_class t
        where t.oid in ('queues.task'::regclass, 'queues.error'::regclass, 'queues.call'::regclass)
    ) as c (name, reloptions)
    where not current_setting('autovacuum')::boolean
        or exists (
            select 1
            from pg_options_to_table(c.reloptions) o
            where o.option_name = 'autovacuum_enabled'
                and not o.option_value::boolean
        );
$$;

-- What needs attention: a row per problem. No row means that the machinery is well, not that no task waits or fails.
create view queues.health as
select h.problem, h.severity, h.subject, h.explanation, h.until, h.hint
from errand.health() h
order by h.severity, h.problem, h.subject;

comment on view queues.health is 'What keeps tasks from running: a row per problem, none if the machinery is well; see also queues.waiting and queues.failures()';
