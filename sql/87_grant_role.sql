-- Privileges by kind of role: enqueuer, operator, monitor and outside_worker, and the roles to which each was granted. This is
-- the list; an object that does not exist is left out.
create view queues.role_privilege as
with privilege (kinds, name, object_type, object) as (
    values
        ('{enqueuer,operator,monitor,outside_worker}'::text[], 'usage', 'schema', 'queues'),
        ('{enqueuer}', 'execute', 'function', 'enqueue'),
        ('{enqueuer}', 'execute', 'function', 'enqueue_many'),
        ('{enqueuer}', 'execute', 'function', 'http_get'),
        ('{enqueuer}', 'execute', 'function', 'http_post'),
        ('{outside_worker}', 'execute', 'function', 'append_error'),
        ('{outside_worker}', 'execute', 'function', 'complete_task'),
        ('{outside_worker}', 'execute', 'function', 'dequeue_next_available_task'),
        ('{outside_worker}', 'execute', 'function', 'fail_task'),
        ('{operator}', 'execute', 'function', 'adopt'),
        ('{operator}', 'execute', 'function', 'cancel'),
        ('{operator}', 'execute', 'function', 'cancel_where'),
        ('{operator}', 'execute', 'function', 'drain'),
        ('{operator}', 'execute', 'function', 'end_lease'),
        ('{operator,monitor}', 'execute', 'function', 'explain'),
        ('{operator}', 'execute', 'function', 'failures'),
        ('{operator}', 'execute', 'function', 'last_ended'),
        ('{operator,monitor}', 'execute', 'function', 'metrics_text'),
        ('{operator}', 'execute', 'function', 'pause'),
        ('{operator}', 'execute', 'function', 'pause_key'),
        ('{operator}', 'execute', 'function', 'pause_provider'),
        ('{operator}', 'execute', 'function', 'purge'),
        ('{operator,monitor}', 'execute', 'function', 'report'),
        ('{operator}', 'execute', 'function', 'reschedule'),
        ('{operator}', 'execute', 'function', 'resume'),
        ('{operator}', 'execute', 'function', 'resume_key'),
        ('{operator}', 'execute', 'function', 'resume_provider'),
        ('{operator}', 'execute', 'function', 'retry'),
        ('{operator}', 'execute', 'function', 'retry_failed'),
        ('{operator}', 'execute', 'function', 'run_next'),
        ('{operator}', 'execute', 'function', 'stats_reset'),
        ('{operator,monitor}', 'execute', 'function', 'throughput'),
        ('{operator}', 'execute', 'function', 'top'),
        ('{operator}', 'select', 'table', 'error'),
        ('{operator}', 'select', 'table', 'failure'),
        ('{operator,monitor}', 'select', 'table', 'health'),
        ('{operator,monitor}', 'select', 'table', 'metrics'),
        ('{operator,monitor}', 'select', 'table', 'oldest_ready'),
        ('{operator,monitor}', 'select', 'table', 'paused'),
        ('{operator,monitor}', 'select', 'table', 'paused_key'),
        ('{operator,monitor}', 'select', 'table', 'provider_status'),
        ('{operator,monitor}', 'select', 'table', 'role_privilege'),
        ('{operator,monitor}', 'select', 'table', 'running'),
        ('{operator,monitor}', 'select', 'table', 'stats'),
        ('{operator,monitor}', 'select', 'table', 'stats_buckets'),
        ('{operator,monitor}', 'select', 'table', 'stats_history'),
        ('{operator,monitor}', 'select', 'table', 'stats_info'),
        ('{operator}', 'select', 'table', 'task_status'),
        -- Without what handlers and providers have said.
        ('{monitor}', 'select', 'columns', 'task_status'),
        ('{operator,monitor}', 'select', 'table', 'unadopted'),
        ('{operator,monitor}', 'select', 'table', 'waiting'),
        ('{operator,monitor}', 'select', 'table', 'worker')
)
select
    k.kind,
    o.privilege,
    o.object,
    array(
        select distinct a.grantee::regrole
        from aclexplode(o.acl) a
        where a.privilege_type = upper(p.name)
    ) as granted_to
from privilege p
cross join lateral unnest(p.kinds) as k (kind)
cross join lateral (
    select p.name as privilege, 'schema queues' as object, n.nspacl as acl
    from pg_namespace n
    where p.object_type = 'schema'
        and n.nspname = p.object
    union all
    select p.name, format('function queues.%I(%s)', f.proname, oidvectortypes(f.proargtypes)), f.proacl
    from pg_proc f
    where p.object_type = 'function'
        and f.pronamespace = to_regnamespace('queues')
        and f.proname = p.object
    union all
    select p.name, format('table queues.%I', c.relname), c.relacl
    from pg_class c
    where p.object_type = 'table'
        and c.relnamespace = to_regnamespace('queues')
        and c.relname = p.object
    union all
    select
        format('%s (%s)', p.name, string_agg(quote_ident(a.attname), ', ' order by a.attnum)),
        format('table queues.%I', c.relname),
        (
            select f.attacl
            from pg_attribute f
            where f.attrelid = c.oid
                and f.attnum = min(a.attnum)
        )
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where p.object_type = 'columns'
        and c.relnamespace = to_regnamespace('queues')
        and c.relname = p.object
        and a.attname not in ('last_error', 'outcome')
    group by c.oid, c.relname
) o;

comment on view queues.role_privilege is 'Privileges of each kind of role, see queues.grant_role, and the roles to which they were granted';

-- Grants the privileges of a kind to a role, or revokes them. It has the rights of its caller. A role needs no USAGE on this
-- schema for it, since the functions below refer to it by its OID; PUBLIC may execute it.
create function errand.change_role(_role regrole, _kind text, _grants boolean)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _name name := (select r.rolname from pg_catalog.pg_roles r where r.oid = _role);
    _kept text[];
    _privilege record;
    _wrong text;
begin
    if _name is null then
        raise exception 'there is no such role'
            using errcode = 'undefined_object',
                  hint = 'Name a role that exists; to_regrole() is null for others.';
    end if;
    if not exists (select 1 from queues.role_privilege p where p.kind = _kind) or _kind is null then
        raise exception 'unknown kind of role "%"', coalesce(_kind, '')
            using errcode = 'invalid_parameter_value',
                  hint = (
                      select format('Known kinds are: %s.', string_agg(distinct p.kind, ', '))
                      from queues.role_privilege p
                  );
    end if;

    _kept := array(
        select p.kind
        from queues.role_privilege p
        where not _grants
            and p.kind <> _kind
        group by p.kind
        having bool_and(_role = any (p.granted_to))
    );

    for _privilege in
        select p.privilege, p.object
        from queues.role_privilege p
        where p.kind = _kind
            and (
                _grants
                -- What the role has as one of another kind, and the schema as long as it has anything there, remains.
                or p.object <> 'schema queues' and p.object || p.privilege not in (
                    select o.object || o.privilege
                    from queues.role_privilege o
                    where o.kind = any (_kept)
                )
            )
    loop
        execute format(
            case when _grants then 'grant %s on %s to %I' else 'revoke %s on %s from %I' end,
            _privilege.privilege,
            _privilege.object,
            _name
        );
        _wrong := coalesce(
            _wrong,
            (
                select format('%s on %s', p.privilege, p.object)
                from queues.role_privilege p
                where p.kind = _kind
                    and p.privilege = _privilege.privilege
                    and p.object = _privilege.object
                    and (_role = any (p.granted_to)) <> _grants
            )
        );
    end loop;
    -- To revoke a privilege on a table is to revoke that on its columns.
    for _privilege in
        select p.privilege, p.object
        from queues.role_privilege p
        where p.kind = any (_kept)
            and _role <> all (p.granted_to)
    loop
        execute format('grant %s on %s to %I', _privilege.privilege, _privilege.object, _name);
    end loop;
    -- Without a grant option, PostgreSQL only warns.
    if _wrong is not null then
        raise exception 'permission denied to % role "%" as %', case when _grants then 'have' else 'remove' end, _name, _kind
            using errcode = 'insufficient_privilege',
                  detail = format('This privilege was not changed: %s.', _wrong),
                  hint = 'The owner of the extension may do this, or a role that was granted these privileges WITH GRANT OPTION.';
    end if;

    if not _grants and not exists (
        select 1
        from (
            select f.proacl as acl
            from pg_proc f
            where f.pronamespace = to_regnamespace('queues')
            union all
            select c.relacl
            from pg_class c
            where c.relnamespace = to_regnamespace('queues')
            union all
            select a.attacl
            from pg_class c
            join pg_attribute a on a.attrelid = c.oid
            where c.relnamespace = to_regnamespace('queues')
        ) o
        cross join lateral aclexplode(o.acl) a
        where a.grantee = _role
    ) then
        execute format('revoke usage on schema queues from %I', _name);
    end if;
end;
$$;

-- Grants a role all that a role of this kind needs: enqueuer, operator, monitor or outside_worker. An enqueuer also needs
-- queues.grant_enqueue for each task type that is not open to all.
create function queues.grant_role(_role regrole, _kind text)
returns void
language sql
return errand.change_role(_role, _kind, true);

-- Reverses queues.grant_role.
create function queues.revoke_role(_role regrole, _kind text)
returns void
language sql
return errand.change_role(_role, _kind, false);
