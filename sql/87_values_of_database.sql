-- The metrics that concern the database as a whole.

-- The problems that queues.health can have, and their severity, so that a metric can be 0 where all is well.
create view errand.known_problem (problem, severity) as
select p.problem, s.severity
from (
    values
        (
            'error',
            '{not_preloaded,version_mismatch,launcher_starting,not_served,too_many_databases,role_missing,role_lacks_login,
              role_lacks_connect,no_connections,read_only,quiesced,paused,workers_failing,max_workers,no_process,
              definition_unusable,breaker_open,secret_missing,handlers_blocked}'::text[]
        ),
        (
            'warning',
            '{database_paused,type_paused,provider_paused_by_operator,breaker_open,secret_missing,role_lacks_rights,
              unadopted_tasks,retention_behind,clock_set_back,setting_not_applied,too_few_workers,too_few_processes,
              autovacuum_off,handlers_blocked}'
        )
) as s (severity, problems)
cross join lateral unnest(s.problems) as p (problem);

comment on view errand.known_problem is 'The problems that queues.health can have';

create view errand.database_sample as
select
    'pg_errand_info' as metric,
    jsonb_build_object('version', e.extversion, 'server_version', current_setting('server_version')) as labels,
    1::double precision as value
from pg_extension e
where e.extname = 'pg_errand'
union all
select 'pg_errand_is_standby', '{}', pg_is_in_recovery()::integer
union all
select 'pg_errand_workers', jsonb_build_object('state', s.state), count(w.pid)
from unnest('{busy,idle}'::text[]) as s (state)
left join queues.worker w on w.state = s.state
where not pg_is_in_recovery()
group by s.state
union all
select 'pg_errand_concurrency', '{}', current_setting('pg_errand.concurrency', true)::integer
where not pg_is_in_recovery()
union all
select
    'pg_errand_problem',
    jsonb_build_object('problem', p.problem, 'severity', p.severity),
    max(p.value)
from (
    select k.problem, k.severity, 0 as value
    from errand.known_problem k
    union all
    select h.problem, h.severity, 1
    from queues.health h
) p
group by p.problem, p.severity
union all
select 'pg_errand_database_paused', '{}', count(*)
from only queues.paused p
where p.task_type is null
    and p.provider is null
    and (p.paused_until is null or p.paused_until > clock_timestamp())
union all
select 'pg_errand_type_paused', jsonb_build_object('task_type', p.task_type), 1
from only queues.paused p
where p.task_type is not null
    and (p.paused_until is null or p.paused_until > clock_timestamp())
union all
select 'pg_errand_paused_keys', jsonb_build_object('task_type', p.task_type), count(*)
from only queues.paused_key p
where p.paused_until is null
    or p.paused_until > clock_timestamp()
group by p.task_type
union all
select
    'pg_errand_retention_overdue_seconds',
    '{}',
    coalesce((select greatest(extract(epoch from o.overdue), 0) from errand.most_overdue() o), 0)
union all
select 'pg_errand_table_bytes', jsonb_build_object('table', c.name), pg_total_relation_size('queues.' || c.name)
from unnest('{task,error,call,stats_history}'::text[]) as c (name)
union all
select c.metric, '{}', c.value
from queues.stats_info i
cross join lateral (
    values
        ('pg_errand_stats_entries', i.entries::bigint),
        ('pg_errand_stats_max_entries', i.max_entries),
        ('pg_errand_stats_replaced_total', i.replaced),
        ('pg_errand_stats_uncounted_total', i.uncounted)
) as c (metric, value);

comment on view errand.database_sample is 'Metrics of the database as a whole';
