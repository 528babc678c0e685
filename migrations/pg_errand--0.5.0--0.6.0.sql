-- 0.5.0 to 0.6.0. What it makes of an installed 0.5.0 has to be what sql/ installs, see tests/upgrade.rs.

set local search_path = pg_catalog, pg_temp;

-- Priorities, unique keys and queue keys.
alter table queues.task
    add column priority smallint,
    add column unique_key text,
    add column follows bigint,
    add column queue_key text;

drop index queues.task_ready;

-- Plain tasks that may be claimed, in their order.
create index task_ready on queues.task (origin, scheduled_at, task_id)
    where finished_at is null and not calling and priority is null and queue_key is null;

-- Prioritized tasks that may be claimed, in the order of each priority.
create index task_prioritized on queues.task (origin, priority, scheduled_at, task_id)
    where finished_at is null and not calling and priority is not null and queue_key is null;

-- Unfinished tasks with a queue key, in the order of each key. Digests stand for the texts, so neither a collation nor
-- the length of a key matters.
create index task_keyed
    on queues.task (
        origin,
        hashtextextended(task_type, 0),
        hashtextextended(queue_key, 0),
        scheduled_at,
        task_id
    )
    where finished_at is null and queue_key is not null;

-- The same, by the time when they fall due.
create index task_keyed_due on queues.task (origin, scheduled_at, task_id)
    where finished_at is null and queue_key is not null;

-- Those that keep their key busy although no worker runs them.
create index task_keyed_busy
    on queues.task (origin, hashtextextended(task_type, 0), hashtextextended(queue_key, 0))
    where finished_at is null and queue_key is not null and (calling or leased);

-- At most one unfinished task of each key and type, and one that follows it. Finished tasks are in it, too, since a
-- second index would make every insert slower: they are distinct by their id.
create unique index task_unique
    on queues.task (
        unique_key,
        task_type,
        origin,
        (case when finished_at is not null then task_id end),
        follows
    ) nulls not distinct
    where unique_key is not null;

drop trigger task_before_update on queues.task;

create trigger task_before_update
    before update of task_type, payload, scheduled_at, origin, priority, unique_key, queue_key on queues.task
    for each row
    execute function errand.task_before_write();

alter table queues.task enable always trigger task_before_update;

-- Limits of task types.
alter table queues.task_definition
    add column max_running integer,
    add column starts_per_second double precision,
    add column burst integer,
    add column max_running_per_key integer not null default 1,
    add column starts_per_second_per_key double precision,
    add column priority_ages_every interval;

-- Keys that are paused: workers start none of their tasks.
create table queues.paused_key (
    task_type text not null,
    queue_key text not null,
    -- when the pause ends; null: with queues.resume_key
    paused_until timestamptz,
    reason text,
    paused_by text not null default session_user,
    paused_at timestamptz not null default clock_timestamp()
);

-- With a primary key, foreign keys of users could refer to the table: their actions would run in the functions below.
create unique index paused_key_unique on queues.paused_key (task_type, (queue_key || ''));
-- A publication of all tables needs it.
alter table queues.paused_key replica identity full;

select pg_catalog.pg_extension_config_dump('queues.paused_key', '');

-- Revokes the privileges that ALTER DEFAULT PRIVILEGES has granted.
do $$
declare
    _grantee text;
begin
    for _grantee in
        select distinct case when a.grantee = 0 then 'public' else a.grantee::regrole::text end
        from pg_class c
        cross join lateral aclexplode(c.relacl) a
        where c.oid = 'queues.paused_key'::regclass
            and a.grantee <> c.relowner
    loop
        execute format('revoke all on table queues.paused_key from %s', _grantee);
    end loop;
end;
$$;

-- queues.enqueue gets more arguments. Who may execute it keeps this privilege, and may also enqueue many tasks at once.
do $$
begin
    perform set_config(
        'errand_upgrade.grants',
        coalesce(
            (
                select jsonb_agg(
                    format(
                        'to %s%s',
                        case when a.grantee = 0 then 'public' else a.grantee::regrole::text end,
                        case when a.is_grantable then ' with grant option' end
                    )
                    order by a.place
                )::text
                from pg_proc p
                cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner)))
                    with ordinality a (grantor, grantee, privilege_type, is_grantable, place)
                where p.oid = 'queues.enqueue(text, jsonb, timestamptz)'::regprocedure
                    and a.grantee <> p.proowner
            ),
            '[]'
        ),
        true
    );
end;
$$;

drop function queues.enqueue(text, jsonb, timestamptz);


-- Raises an error if a limit of a task type is not valid.
create function errand.check_start_limit(_task_type text, _name text, _limit double precision)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if _limit <= 0 or _limit in ('NaN', 'Infinity') then
        raise exception 'task type "%": % has to be above 0, or null', _task_type, _name
            using errcode = 'invalid_parameter_value',
                  hint = 'Use null for no limit.';
    end if;
end;
$$;

-- Checks a task definition.
create or replace function errand.task_definition_before_write_checked()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if new.task_type !~ '^[a-z][a-z0-9_.-]{0,62}$' then
        raise exception 'task type "%" is not a valid name', new.task_type
            using errcode = 'invalid_parameter_value',
                  hint = 'Use up to 63 lower case letters, digits, "_", "." and "-", beginning with a letter.';
    end if;
    if new.processor not in ('call', 'db_function') then
        raise exception 'there is no processor "%"', new.processor
            using errcode = 'invalid_parameter_value',
                  hint = 'Use call or db_function.';
    end if;
    if new.processor = 'call' and new.provider is null and new.provider_setting is null then
        raise exception 'task type "%" needs a provider', new.task_type
            using errcode = 'invalid_parameter_value',
                  hint = 'Name one of queues.provider, or use the processor db_function.';
    end if;
    if new.provider_setting not in ('pg_errand.email_provider', 'pg_errand.sms_provider') then
        raise exception 'the setting "%" names no provider', new.provider_setting
            using errcode = 'invalid_parameter_value',
                  hint = 'Use pg_errand.email_provider or pg_errand.sms_provider.';
    end if;
    if tg_op = 'UPDATE'
        and old.built_in
        and (new.task_type, new.processor) <> (old.task_type, old.processor)
        and not errand.replicates()
    then
        raise exception 'task type "%" is built in: neither its name nor its processor can be changed', old.task_type
            using errcode = 'dependent_objects_still_exist',
                  hint = 'Insert a task type of another name.';
    end if;
    perform errand.check_start_limit(new.task_type, 'max_running', new.max_running);
    perform errand.check_start_limit(new.task_type, 'starts_per_second', new.starts_per_second);
    perform errand.check_start_limit(new.task_type, 'burst', new.burst);
    perform errand.check_start_limit(new.task_type, 'starts_per_second_per_key', new.starts_per_second_per_key);
    if new.max_running_per_key < 1 then
        raise exception 'task type "%": max_running_per_key has to be 1 or more', new.task_type
            using errcode = 'invalid_parameter_value',
                  hint = 'With 1, the tasks of a key run one after the other.';
    end if;
    if extract(epoch from new.priority_ages_every) not between 0.000001 and 366 * 86400 then
        raise exception 'task type "%": priority_ages_every has to be above 0, and at most 366 days', new.task_type
            using errcode = 'invalid_parameter_value',
                  hint = 'Use null for a priority that does not rise.';
    end if;
    -- Removes roles that do not exist.
    new.granted_to := array(
        select g.grantee
        from unnest(new.granted_to) with ordinality as g (grantee, position)
        where g.grantee::text <> 'none'
        order by g.position
    );
    -- Only a warning is raised, since the provider may follow later while a dump is restored.
    if new.provider is not null and not exists (select 1 from only queues.provider p where p.name = new.provider) then
        raise warning 'task type "%" names provider "%", which does not exist', new.task_type, new.provider
            using hint = 'Insert it into queues.provider; until then such tasks are refused.';
    end if;
    if tg_op = 'INSERT' or new.provider is distinct from old.provider then
        perform errand.check_serves(new.task_type, to_jsonb(p))
        from only queues.provider p
        where p.name = new.provider;
    end if;
    return new;
end;
$$;

-- Lets a role enqueue tasks of a type. A notice names the privileges that the role still lacks.
create or replace function queues.grant_enqueue(_task_type text, _role regrole)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _name name := (select r.rolname from pg_catalog.pg_roles r where r.oid = _role);
    _missing text;
begin
    if _name is null then
        raise exception 'cannot grant tasks of type "%" to a role that does not exist', _task_type
            using errcode = 'undefined_object',
                  hint = 'Name a role that exists; to_regrole() is null for others.';
    end if;

    update only queues.task_definition d
    set granted_to = array(
        select g.grantee
        from unnest(d.granted_to) as g (grantee)
        where g.grantee::text <> _name
        union all
        select _name::text::queues.grantee
    )
    where d.task_type = _task_type;
    if not found then
        raise exception 'unknown task type "%"', _task_type
            using errcode = 'invalid_parameter_value',
                  hint = 'Known task types are the rows of queues.task_definition.';
    end if;

    -- The role needs these privileges, too. Only the owner of the extension may grant them.
    select string_agg(format('GRANT %s TO %I;', n.privilege, _name), ' ' order by n.place)
    into _missing
    from (
        select 1, 'USAGE ON SCHEMA queues'
        where not has_schema_privilege(_role, 'queues', 'usage')
        union all
        select 2, format('EXECUTE ON FUNCTION %s', string_agg(f.name, ', ' order by f.place))
        from (
            values
                (1, 'queues.enqueue', true),
                (2, 'queues.http_post', _task_type = 'http'),
                (3, 'queues.http_get', _task_type = 'http'),
                (4, 'queues.result', _task_type = 'http')
        ) as f (place, name, needed)
        where f.needed
            and not has_function_privilege(_role, f.name::regproc, 'execute')
        having count(*) > 0
    ) as n (place, privilege);
    if _missing is not null then
        raise notice 'role "%" lacks privileges for tasks of type "%"', _name, _task_type
            using hint = format('Run: %s', _missing);
    end if;
end;
$$;

-- Enqueues a task and returns its id. A worker starts the task when this transaction commits, or at _scheduled_at if
-- that is later. Raises an error if the task type is unknown or not granted to the caller, see queues.grant_enqueue.
-- The row is written with the privileges of the owner of the extension.
--
-- While there is an unfinished task of this type with the same _unique_key, no other one is enqueued. Its id is returned,
-- and _if_exists says what happens: keep (nothing), replace (payload, time and priority are replaced), debounce (the
-- same, but at most _debounce_limit after the task was first enqueued), error. If that task is running, replace and
-- debounce enqueue another one, which starts after it. With _unique_for, tasks that succeeded or failed count, too, if
-- they were enqueued within that time.
--
-- Tasks of a type with the same _queue_key take turns: in order of time, and at most max_running_per_key of the task
-- definition at once.
create function queues.enqueue(
    _task_type text,
    _payload jsonb,
    _scheduled_at timestamptz default now(),
    _unique_key text default null,
    _if_exists text default 'keep',
    _unique_for interval default null,
    _debounce_limit interval default null,
    _priority integer default 0,
    _queue_key text default null
)
returns bigint
language c
as 'MODULE_PATHNAME', 'enqueue_wrapper';

-- Enqueues many tasks and returns their ids, in order. _tasks is an array of objects whose keys are the names of the
-- arguments of queues.enqueue, with or without the leading underscore.
create function queues.enqueue_many(_tasks jsonb)
returns setof bigint
language c
as 'MODULE_PATHNAME', 'enqueue_many_wrapper';

-- Enqueues a task of one type for each payload and returns their ids, in order. The other arrays have a value for each
-- payload, or are null.
create function queues.enqueue_many(
    _task_type text,
    _payloads jsonb[],
    _scheduled_at timestamptz[] default null,
    _unique_keys text[] default null,
    _if_exists text default 'keep',
    _unique_for interval default null,
    _debounce_limit interval default null,
    _priority integer default 0,
    _queue_keys text[] default null
)
returns setof bigint
language c
as 'MODULE_PATHNAME', 'enqueue_payloads_wrapper';

-- Whether the limits of a type let another task start, of which _leased are leased.
create function errand.has_start(_task_type text, _leased bigint)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'has_start_wrapper';

-- Reserves the start of a task until the transaction ends; false if the limits of its type refuse it. _leased is the
-- number of tasks of the type that are leased.
create function errand.reserve_start(_task_type text, _leased bigint)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'reserve_start_wrapper';

-- The number of leased tasks of a type.
create function errand.count_leases(_task_type text)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $$
    select count(*)
    from only queues.task t
    where t.finished_at is null
        and t.not_before > clock_timestamp()
        and t.leased
        and t.task_type = _task_type;
$$;

-- Those of these types that have limits.
create function errand.limited_types(_task_types text[])
returns text[]
language sql
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(array_agg(d.task_type), '{}')
    from only queues.task_definition d
    where d.task_type = any (_task_types)
        and (d.max_running is not null or d.starts_per_second is not null);
$$;

-- Whether a task of a limited type may be dequeued, without reserving its start.
create function errand.may_start(_task_type text)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    -- An older snapshot would not show all leases.
    return current_setting('transaction_isolation') not in ('repeatable read', 'serializable')
        and errand.has_start(_task_type, errand.count_leases(_task_type));
end;
$$;

-- Reserves the start of a task of a limited type; false if it may not be dequeued.
create function errand.begin_start(_task_type text)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    -- Until this transaction ends, no other session sees its lease, so none dequeues a task of this type.
    perform 1
    from only queues.task_definition d
    where d.task_type = _task_type
    for no key update skip locked;
    if not found then
        return false;
    end if;
    -- The type is counted after it has been locked.
    return errand.reserve_start(_task_type, errand.count_leases(_task_type));
end;
$$;

-- Locks the next task without a queue key of these types that is ready at _now: the one of the highest effective priority,
-- and of these the one that has had it for longest, if it comes before a position (null: any). All are null if there is
-- none.
create function errand.lock_next_aged(
    _task_types text[],
    _now timestamptz,
    _before_priority integer,
    _before_time timestamptz,
    _before_id bigint,
    out task_id bigint,
    out task_type text,
    out was_leased boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    _here bigint := errand.queue_origin();
    _passed bigint[] := array(select w.task_id from errand.worker_state() w where w.task_id is not null);
    _next bigint;
begin
    loop
        -- Types without ageing have a common order, each other type has one of its own. Only the first task of each
        -- order and priority can be the next one.
        with recursive level (priority) as (
            select max(r.priority)
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority is not null
                and r.queue_key is null
            union all
            select (
                select max(r.priority)
                from only queues.task r
                where r.origin = _here
                    and r.finished_at is null
                    and not r.calling
                    and r.priority is not null
                    and r.queue_key is null
                    and r.priority < l.priority
            )
            from level l
            where l.priority is not null
        ),
        types as (
            select array_agg(d.task_type) as names, nullif(greatest(extract(epoch from min(d.priority_ages_every)), 0), 0) as ages_every
            from only queues.task_definition d
            where d.task_type = any (_task_types)
            group by case when d.priority_ages_every is not null then d.task_type end
        ),
        heads as (
            select r.task_id, 0 as priority, extract(epoch from r.scheduled_at) as scheduled_at, y.ages_every
            from types y
            cross join lateral (
                select r.task_id, r.scheduled_at
                from only queues.task r
                where r.origin = _here
                    and r.finished_at is null
                    and not r.calling
                    and r.priority is null
                    and r.queue_key is null
                    and r.task_type = any (y.names)
                    and r.scheduled_at <= _now
                    and (r.not_before is null or r.not_before <= _now)
                    and r.task_id <> all (_passed)
                    -- A task that follows another one with its unique key starts after that one's end.
                    and not exists (
                        select 1
                        from only queues.task p
                        where p.task_id = r.follows
                            and p.finished_at is null
                    )
                order by r.scheduled_at, r.task_id
                limit 1
            ) r
            union all
            select r.task_id, l.priority, extract(epoch from r.scheduled_at), y.ages_every
            from types y
            cross join level l
            cross join lateral (
                select r.task_id, r.scheduled_at
                from only queues.task r
                where r.origin = _here
                    and r.finished_at is null
                    and not r.calling
                    and r.priority = l.priority
                    and r.queue_key is null
                    and r.task_type = any (y.names)
                    and r.scheduled_at <= _now
                    and (r.not_before is null or r.not_before <= _now)
                    and r.task_id <> all (_passed)
                    and not exists (
                        select 1
                        from only queues.task p
                        where p.task_id = r.follows
                            and p.finished_at is null
                    )
                order by r.scheduled_at, r.task_id
                limit 1
            ) r
        )
        select h.task_id
        into _next
        from heads h
        cross join lateral (
            select case
                when h.ages_every is null then 0
                else least(div(extract(epoch from _now) - h.scheduled_at, h.ages_every), 32767 - h.priority)
            end as gained
        ) aged
        cross join lateral (
            select
                -(h.priority + aged.gained) as rank,
                h.scheduled_at + aged.gained * coalesce(h.ages_every, 0) as since
        ) effective
        where _before_priority is null
            or (effective.rank, effective.since, h.task_id)
                < (-_before_priority, extract(epoch from _before_time), _before_id)
        order by effective.rank, effective.since, h.task_id
        limit 1;
        exit when _next is null;

        select r.task_id, r.task_type, r.leased
        into task_id, task_type, was_leased
        from only queues.task r
        where r.task_id = _next
            and r.origin = _here
            and r.finished_at is null
            and not r.calling
            and r.queue_key is null
            and r.task_type = any (_task_types)
            and r.scheduled_at <= _now
            and (r.not_before is null or r.not_before <= _now)
        for no key update skip locked;
        exit when found;
        -- Another worker has it.
        _passed := _passed || _next;
    end loop;
end;
$$;

-- Lets the commit announce that a task of this key may start.
create function errand.announce_key(_task_type text, _queue_key text)
returns void
strict
language c
as 'MODULE_PATHNAME', 'announce_key_wrapper';

-- Locks a key until the transaction ends, so that no other session starts a task of it. Returns false if another one
-- has locked it. The end of the transaction is announced to the workers that were refused meanwhile.
create function errand.try_key_lock(_task_type text, _queue_key text)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'try_key_lock_wrapper';

-- The number of workers inside that run a task of this key, or are about to.
create function errand.workers_of_key(_task_type text, _queue_key text)
returns integer
strict
language c
as 'MODULE_PATHNAME', 'workers_of_key_wrapper';

-- Whether the rate of a key lets a task start now.
create function errand.has_key_start(_task_type text, _queue_key text)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'has_key_start_wrapper';

-- Counts the start of a task of a key; false if its rate lets none start now.
create function errand.reserve_key_start(_task_type text, _queue_key text)
returns boolean
strict
language c
as 'MODULE_PATHNAME', 'reserve_key_start_wrapper';

-- Revokes a start of errand.reserve_key_start.
create function errand.give_back_key_start(_task_type text, _queue_key text)
returns void
strict
language c
as 'MODULE_PATHNAME', 'give_back_key_start_wrapper';

-- Raises an error unless there is such a task type and the key is one that a task can have.
create function errand.check_key(_task_type text, _queue_key text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (select 1 from only queues.task_definition d where d.task_type = _task_type) then
        raise exception 'unknown task type "%"', coalesce(_task_type, '')
            using errcode = 'invalid_parameter_value',
                  hint = 'Known task types are the rows of queues.task_definition.';
    end if;
    if coalesce(_queue_key, '') = '' then
        raise exception 'a queue key cannot be empty'
            using errcode = 'invalid_parameter_value',
                  hint = 'Name the key that tasks were enqueued with (_queue_key).';
    end if;
    if octet_length(_queue_key) > 512 then
        raise exception 'the queue key has % bytes', octet_length(_queue_key)
            using errcode = 'invalid_parameter_value',
                  hint = 'A queue key has at most 512 bytes, so no task has this one.';
    end if;
end;
$$;

-- Pauses a key: from the commit on, no task of this type and key starts before _until, or before queues.resume_key.
-- Tasks that run already are not affected. A pause that exists is replaced.
create function queues.pause_key(
    _task_type text,
    _queue_key text,
    _until timestamptz default null,
    _why text default null
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _end timestamptz := nullif(_until, 'infinity');
begin
    perform errand.check_key(_task_type, _queue_key);
    if _end <= clock_timestamp() then
        raise exception 'the pause would end at %, which is in the past', _end
            using errcode = 'invalid_parameter_value',
                  hint = 'Leave _until out to pause the key until queues.resume_key is called.';
    end if;

    insert into queues.paused_key as p (task_type, queue_key, paused_until, reason)
    values (_task_type, _queue_key, _end, _why)
    on conflict (task_type, (queue_key || '')) do update
    set paused_until = excluded.paused_until,
        reason = excluded.reason,
        paused_by = excluded.paused_by,
        paused_at = excluded.paused_at;

    if not exists (
        select 1
        from only queues.paused_key p
        where p.task_type = _task_type
            and p.queue_key || '' = _queue_key
            and p.paused_until is not distinct from _end
    ) then
        perform errand.refuse_unwritten('queues.paused_key', _inserted => true);
    end if;

    perform errand.announce(_end);
end;
$$;

-- Whether a key is paused now.
create function errand.is_key_paused(_task_type text, _queue_key text)
returns boolean
language sql
set search_path = pg_catalog, pg_temp
as $$
    select exists (
        select 1
        from only queues.paused_key p
        where p.task_type = _task_type
            and p.queue_key || '' = _queue_key
            and (p.paused_until is null or p.paused_until > clock_timestamp())
    );
$$;

-- Ends the pause of a key. Returns false if it is not paused.
create function queues.resume_key(_task_type text, _queue_key text)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _was_paused boolean;
begin
    perform errand.check_key(_task_type, _queue_key);
    _was_paused := errand.is_key_paused(_task_type, _queue_key);

    delete from only queues.paused_key p
    where p.task_type = _task_type
        and p.queue_key || '' = _queue_key;
    if errand.is_key_paused(_task_type, _queue_key) then
        perform errand.refuse_unwritten('queues.paused_key');
    end if;

    perform errand.announce_key(_task_type, _queue_key);
    return _was_paused;
end;
$$;

-- The next tasks of the keys of these types that may start at _now, the first one of each key: keys that are not paused,
-- of which fewer tasks run than may, and whose rate lets another one start. Each key is found by a search of its own in
-- the index.
create function errand.free_keys(
    _task_types text[],
    _now timestamptz,
    out task_type text,
    out queue_key text,
    out priority integer,
    out scheduled_at timestamptz,
    out task_id bigint
)
returns setof record
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
as $$
#variable_conflict use_column
begin
    return query
    with recursive wanted as materialized (
        select
            d.task_type,
            d.max_running_per_key as max_running,
            hashtextextended(d.task_type, 0) as type_digest,
            errand.queue_origin() as origin
        from only queues.task_definition d
        where d.task_type = any (_task_types)
    ),
    key as (
        select w.*, first.queue_key, first.key_digest
        from wanted w
        cross join lateral (
            select t.queue_key, hashtextextended(t.queue_key, 0) as key_digest
            from only queues.task t
            where (t.origin, hashtextextended(t.task_type, 0)) >= (w.origin, w.type_digest)
                and (t.origin, hashtextextended(t.task_type, 0)) <= (w.origin, w.type_digest)
                and t.finished_at is null
                and t.queue_key is not null
            order by t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0)
            limit 1
        ) first
        union all
        select k.task_type, k.max_running, k.type_digest, k.origin, next.queue_key, next.key_digest
        from key k
        cross join lateral (
            select t.queue_key, hashtextextended(t.queue_key, 0) as key_digest
            from only queues.task t
            where (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                    > (k.origin, k.type_digest, k.key_digest)
                and (t.origin, hashtextextended(t.task_type, 0)) <= (k.origin, k.type_digest)
                and t.finished_at is null
                and t.queue_key is not null
            order by t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0)
            limit 1
        ) next
    )
    select k.task_type, k.queue_key, coalesce(next.priority, 0)::integer, next.scheduled_at, next.task_id
    from key k
    cross join lateral (
        select t.priority, t.scheduled_at, t.task_id, t.not_before
        from only queues.task t
        -- Conditions and order name all columns of the index task_keyed, so that no other index comes into question, by
        -- which tasks of other keys would be scanned.
        where (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                >= (k.origin, k.type_digest, k.key_digest)
            and (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                <= (k.origin, k.type_digest, k.key_digest)
            and t.finished_at is null
            and t.queue_key is not null
            -- If only one runs at a time, the first one keeps its turn also while it is deferred.
            and (k.max_running = 1 or not t.calling and (t.not_before is null or t.not_before <= _now))
        order by
            t.origin,
            hashtextextended(t.task_type, 0),
            hashtextextended(t.queue_key, 0),
            t.scheduled_at,
            t.task_id
        limit 1
    ) next
    where next.scheduled_at <= _now
        and (next.not_before is null or next.not_before <= _now)
        and not exists (
            select 1
            from only queues.paused_key p
            where p.task_type = k.task_type
                and p.queue_key || '' = k.queue_key
                and (p.paused_until is null or p.paused_until > _now)
        )
        and errand.workers_of_key(k.task_type, k.queue_key) + (
            select count(*)
            from only queues.task t
            where t.origin = k.origin
                and t.finished_at is null
                and t.queue_key is not null
                and (t.calling or t.leased)
                and (t.calling or t.not_before > _now)
                and hashtextextended(t.task_type, 0) = k.type_digest
                and hashtextextended(t.queue_key, 0) = k.key_digest
        ) < k.max_running
        and errand.has_key_start(k.task_type, k.queue_key);
end;
$$;

-- The number of tasks of a key that run outside the workers' processes: those between the steps of a provider call, and
-- those that are leased.
create function errand.count_busy_of_key(_task_type text, _queue_key text)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
as $$
    select count(*)
    from only queues.task t
    where t.origin = (select errand.queue_origin())
        and t.finished_at is null
        and t.queue_key is not null
        and (t.calling or t.leased)
        and (t.calling or t.not_before > clock_timestamp())
        and hashtextextended(t.task_type, 0) = hashtextextended(_task_type, 0)
        and hashtextextended(t.queue_key, 0) = hashtextextended(_queue_key, 0);
$$;

-- Locks the next task of a key. task_id is null if none may start, or if another session has locked the key.
create function errand.lock_next_of_key(
    _task_type text,
    _queue_key text,
    out task_id bigint,
    out was_leased boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_incremental_sort = off
as $$
#variable_conflict use_column
declare
    _here bigint := errand.queue_origin();
    _most integer;
    _first bigint;
begin
    if not errand.try_key_lock(_task_type, _queue_key) then
        return;
    end if;

    select d.max_running_per_key
    into _most
    from only queues.task_definition d
    where d.task_type = _task_type;
    -- A worker that shows the key from now on finds it locked.
    if errand.workers_of_key(_task_type, _queue_key) + errand.count_busy_of_key(_task_type, _queue_key) >= _most
        or errand.is_key_paused(_task_type, _queue_key)
        or not errand.reserve_key_start(_task_type, _queue_key)
    then
        return;
    end if;

    -- Each statement sees what was committed before it. If only one task runs at a time, it is the first one or none.
    -- Otherwise workers inside may have locked the first ones.
    if _most = 1 then
        _first := (
            select t.task_id
            from only queues.task t
            where (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                    >= (_here, hashtextextended(_task_type, 0), hashtextextended(_queue_key, 0))
                and (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                    <= (_here, hashtextextended(_task_type, 0), hashtextextended(_queue_key, 0))
                and t.finished_at is null
                and t.queue_key is not null
            order by
                t.origin,
                hashtextextended(t.task_type, 0),
                hashtextextended(t.queue_key, 0),
                t.scheduled_at,
                t.task_id
            limit 1
        );

        select t.task_id, t.leased
        into task_id, was_leased
        from only queues.task t
        where t.task_id = _first
            and t.task_type = _task_type
            and t.queue_key = _queue_key
            and t.finished_at is null
            and not t.calling
            and t.scheduled_at <= clock_timestamp()
            and (t.not_before is null or t.not_before <= clock_timestamp())
            -- A task that follows another one with its unique key starts after that one's end.
            and not exists (
                select 1
                from only queues.task p
                where p.task_id = t.follows
                    and p.finished_at is null
            )
        for no key update skip locked;
    else
        select t.task_id, t.leased
        into task_id, was_leased
        from only queues.task t
        where (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                >= (_here, hashtextextended(_task_type, 0), hashtextextended(_queue_key, 0))
            and (t.origin, hashtextextended(t.task_type, 0), hashtextextended(t.queue_key, 0))
                <= (_here, hashtextextended(_task_type, 0), hashtextextended(_queue_key, 0))
            and t.finished_at is null
            and t.queue_key is not null
            and t.task_type = _task_type
            and t.queue_key = _queue_key
            and not t.calling
            and t.scheduled_at <= clock_timestamp()
            and (t.not_before is null or t.not_before <= clock_timestamp())
            and not exists (
                select 1
                from only queues.task p
                where p.task_id = t.follows
                    and p.finished_at is null
            )
        order by
            t.origin,
            hashtextextended(t.task_type, 0),
            hashtextextended(t.queue_key, 0),
            t.scheduled_at,
            t.task_id
        limit 1
        for no key update skip locked;
    end if;

    if task_id is null then
        perform errand.give_back_key_start(_task_type, _queue_key);
    end if;
end;
$$;

-- Locks the next task without a queue key of these types that is ready at _now: the first one of the highest priority, with
-- ageing of the highest effective priority, if it comes before a position (null: any). All are null if there is none.
create function errand.lock_next_plain(
    _task_types text[],
    _now timestamptz,
    _before_priority integer,
    _before_time timestamptz,
    _before_id bigint,
    out task_id bigint,
    out task_type text,
    out was_leased boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    _here bigint := errand.queue_origin();
    _priority integer := 32768;
    _below integer;
    _time timestamptz;
    _id bigint;
begin
    if exists (
        select 1
        from only queues.task_definition d
        where d.task_type = any (_task_types)
            and d.priority_ages_every is not null
    ) then
        select n.task_id, n.task_type, n.was_leased
        into task_id, task_type, was_leased
        from errand.lock_next_aged(_task_types, _now, _before_priority, _before_time, _before_id) n;
        return;
    end if;

    -- Each priority in use is found by one search in the index. Plain tasks have priority 0.
    loop
        _below := (
            select max(r.priority)
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority is not null
                and r.queue_key is null
                and r.priority < _priority
        );
        _priority := case when _priority > 0 then greatest(_below, 0) else _below end;
        exit when _priority is null or _priority < _before_priority;
        _time := case when _priority = _before_priority then _before_time else 'infinity' end;
        _id := case when _priority = _before_priority then _before_id else 9223372036854775807 end;

        if _priority = 0 then
            select r.task_id, r.task_type, r.leased
            into task_id, task_type, was_leased
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority is null
                and r.queue_key is null
                and r.task_type = any (_task_types)
                and r.scheduled_at <= _now
                and (r.scheduled_at, r.task_id) < (_time, _id)
                and (r.not_before is null or r.not_before <= _now)
                -- A task that follows another one with its unique key starts after that one's end.
                and not exists (
                    select 1
                    from only queues.task p
                    where p.task_id = r.follows
                        and p.finished_at is null
                )
            order by r.scheduled_at, r.task_id
            limit 1
            for no key update skip locked;
        else
            select r.task_id, r.task_type, r.leased
            into task_id, task_type, was_leased
            from only queues.task r
            where r.origin = _here
                and r.finished_at is null
                and not r.calling
                and r.priority = _priority
                and r.queue_key is null
                and r.task_type = any (_task_types)
                and r.scheduled_at <= _now
                and (r.scheduled_at, r.task_id) < (_time, _id)
                and (r.not_before is null or r.not_before <= _now)
                and not exists (
                    select 1
                    from only queues.task p
                    where p.task_id = r.follows
                        and p.finished_at is null
                )
            order by r.scheduled_at, r.task_id
            limit 1
            for no key update skip locked;
        end if;
        exit when found;
    end loop;
end;
$$;

-- Locks the next task of these types that is ready at _now: the first one of the highest priority, where the next task of a
-- queue key stands for its key. All are null if there is none.
create function errand.lock_next_ready(
    _task_types text[],
    _now timestamptz,
    out task_id bigint,
    out task_type text,
    out was_leased boolean
)
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    _here bigint := errand.queue_origin();
    _key record;
begin
    -- An older snapshot would not show what others have started since.
    if current_setting('transaction_isolation') not in ('repeatable read', 'serializable')
        and exists (
            select 1
            from only queues.task t
            where t.origin = _here
                and t.finished_at is null
                and t.queue_key is not null
                and t.scheduled_at <= _now
        )
    then
        for _key in
            select k.*
            from errand.free_keys(_task_types, _now) k
            order by k.priority desc, k.scheduled_at, k.task_id
        loop
            select n.task_id, n.task_type, n.was_leased
            into task_id, task_type, was_leased
            from errand.lock_next_plain(_task_types, _now, _key.priority, _key.scheduled_at, _key.task_id) n;
            exit when task_id is not null;

            select n.task_id, _key.task_type, n.was_leased
            into task_id, task_type, was_leased
            from errand.lock_next_of_key(_key.task_type, _key.queue_key) n;
            exit when task_id is not null;
        end loop;
    end if;

    if task_id is null then
        select n.task_id, n.task_type, n.was_leased
        into task_id, task_type, was_leased
        from errand.lock_next_plain(_task_types, _now, null, null, null) n;
    end if;
end;
$$;

-- Lets the commit announce what the end of this task lets start: the task that follows it, if it has a unique key, and the
-- next one of its queue key.
create function errand.announce_follower(_task_id bigint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _task record;
begin
    select t.task_type, t.unique_key, t.queue_key
    into _task
    from only queues.task t
    where t.task_id = _task_id
        and (t.unique_key is not null or t.queue_key is not null);
    if not found then
        return;
    end if;

    if _task.unique_key is not null then
        perform errand.announce(clock_timestamp());
        perform errand.announce_key(f.task_type, f.queue_key)
        from only queues.task f
        where f.unique_key = _task.unique_key
            and f.task_type = _task.task_type
            and f.follows = _task_id;
    end if;
    perform errand.announce_key(_task.task_type, _task.queue_key);
end;
$$;

-- Dequeues the next ready task of these types, the first one of the highest priority, with a lease. Returns one row, with
-- nulls if no task is ready. By default the types are db_function, email and sms, which every worker outside supports.
-- With pg_errand.lease_duration = 0 the task has succeeded as soon as it is dequeued.
create or replace function queues.dequeue_next_available_task(
    _task_types text[] default null,
    out task_id bigint,
    out task_type text,
    out payload jsonb,
    out enqueued_at timestamptz,
    out scheduled_at timestamptz,
    out dequeued_at timestamptz
)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    _lease interval := coalesce(current_setting('pg_errand.lease_duration', true), '5min')::interval;
    _now timestamptz;
    _leased_until timestamptz;
    _next bigint;
    _type text;
    _was_leased boolean;
    _unknown text;
    _types text[] := coalesce(_task_types, '{db_function,email,sms}');
    _limited text[];
begin
    if _task_types is not null then
        select min(wanted.name)
        into _unknown
        from unnest(_task_types) as wanted (name)
        where not exists (select 1 from only queues.task_definition d where d.task_type = wanted.name);
        if _unknown is not null then
            raise exception 'unknown task type "%"', _unknown
                using errcode = 'invalid_parameter_value',
                      hint = 'Known task types are the rows of queues.task_definition.';
        end if;
    end if;

    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;
    -- A volatile function in the condition would not end the index scan at the first task of the future.
    _now := clock_timestamp();

    -- Before a row is locked: workers inside pass over locked rows.
    _limited := errand.limited_types(_types);
    if _limited <> '{}' then
        _types := array(
            select t.name
            from unnest(_types) as t (name)
            where t.name <> all (_limited)
                or errand.may_start(t.name)
        );
    end if;

    loop
        select n.task_id, n.task_type, n.was_leased
        into _next, _type, _was_leased
        from errand.lock_next_ready(_types, _now) n;
        if _next is null then
            return;
        end if;
        exit when _type <> all (_limited) or errand.begin_start(_type);
        -- Another task of the type has started meanwhile.
        _types := array_remove(_types, _type);
    end loop;

    -- The lease starts now, after any wait for locks.
    _now := clock_timestamp();
    _leased_until := _now + _lease;

    update only queues.task t
    set dequeued_at = _now,
        attempts = least(t.attempts, 2147483646) + 1,
        leased = true,
        not_before = case when _lease > '0' then _leased_until end,
        finished_at = case when _lease = '0' then _now end,
        final_status = case when _lease = '0' then 'succeeded' end
    where t.task_id = _next
    returning t.task_id, t.task_type, t.payload, t.enqueued_at, t.scheduled_at, t.dequeued_at
    into task_id, task_type, payload, enqueued_at, scheduled_at, dequeued_at;

    -- A trigger or rule may have suppressed the update; then the task would be handed out again.
    if exists (
        select 1
        from only queues.task t
        where t.task_id = _next
            and t.finished_at is null
            and coalesce(t.not_before, '-infinity') < least(_leased_until, clock_timestamp())
    ) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    if _lease > '0' then
        perform errand.announce(_leased_until);
    else
        perform errand.announce_follower(task_id);
    end if;
    if _was_leased then
        perform errand.tell_of_ended_lease(_next);
    end if;
end;
$$;

-- Ends a task, unless it has ended or is between the steps of a provider call.
create or replace function errand.end_task(_task_id bigint, _status text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    update only queues.task
    set finished_at = clock_timestamp(),
        final_status = _status,
        leased = false,
        not_before = null
    where task_id = _task_id
        and finished_at is null
        and not calling;

    if exists (
        select 1
        from only queues.task t
        where t.task_id = _task_id
            and t.finished_at is null
            and not t.calling
    ) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    perform errand.announce_follower(_task_id);
end;
$$;

-- Cancels a task. A waiting task never runs, unless the caller rolls back. A running task is interrupted immediately,
-- even if its handler catches all errors, and no further handler is invoked; the provider may have received a request
-- that is in flight. Returns false if the task has ended or does not exist.
create or replace function queues.cancel(_task_id bigint)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _finished boolean;
    _calling boolean;
    _owner bigint;
    _told boolean;
begin
    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    loop
        select t.finished_at is not null, t.calling, c.owner
        into _finished, _calling, _owner
        from only queues.task t
        left join only queues.call c on c.task_id = t.task_id
        where t.task_id = _task_id;

        if not found or _finished then
            return false;
        end if;

        if errand.cancel_running(_task_id) then
            return true;
        end if;

        if _calling then
            -- The row of the call may have been deleted.
            _told := case when _owner is null then false else errand.cancel_call(_owner, _task_id) end;
            if _told then
                -- The task may have ended just before.
                return exists (
                    select 1
                    from only queues.task t
                    where t.task_id = _task_id
                        and (t.finished_at is null or t.final_status = 'cancelled')
                );
            end if;
            if _told is null then
                perform pg_sleep(0.002);
                continue;
            end if;
        end if;

        -- If its row can be locked, no worker runs the task.
        perform 1
        from only queues.task t
        where t.task_id = _task_id
            and t.finished_at is null
            and t.calling = _calling
        for no key update skip locked;

        if found then
            update only queues.task
            set finished_at = clock_timestamp(),
                final_status = 'cancelled',
                calling = false,
                leased = false,
                not_before = null
            where task_id = _task_id;
            if exists (select 1 from only queues.task t where t.task_id = _task_id and t.finished_at is null) then
                perform errand.refuse_unwritten('queues.task');
            end if;

            update only queues.call
            set request = null
            where task_id = _task_id;
            if exists (select 1 from only queues.call c where c.task_id = _task_id and c.request is not null) then
                perform errand.refuse_unwritten('queues.call');
            end if;
            perform errand.announce_follower(_task_id);
            return true;
        end if;

        -- The task is just starting or ending, or another session has locked its row.
        perform pg_sleep(0.002);
    end loop;
end;
$$;

-- Adopts the unadopted tasks, which then run in this database, and returns their number. It is meant for the case that
-- the original database will not run them any more.
create or replace function queues.adopt()
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    _here bigint := errand.queue_origin();
    _unadopted bigint;
    _adopted bigint;
begin
    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    select count(*)
    into _unadopted
    from (
        select 1
        from only queues.task t
        where t.finished_at is null
            and t.origin <> _here
        for no key update
    ) t;

    -- There may be an unfinished task of the same unique key here already. Both run, but only one keeps the key.
    update only queues.task t
    set unique_key = null
    where t.finished_at is null
        and t.origin <> _here
        and t.unique_key is not null
        and exists (
            select 1
            from only queues.task o
            where o.unique_key = t.unique_key
                and o.task_type = t.task_type
                and o.finished_at is null
                and (o.origin = _here or o.origin < t.origin)
        );

    with adopted as (
        update only queues.task
        set origin = _here
        where finished_at is null
            and origin <> _here
        returning origin
    )
    select count(*)
    into _adopted
    from adopted a
    where a.origin = _here;

    if _adopted < _unadopted then
        perform errand.refuse_unwritten('queues.task');
    end if;

    perform errand.announce(clock_timestamp());
    perform errand.announce_orphans();
    return _adopted;
end;
$$;

-- The live worker processes of this database.
create or replace view queues.worker as
select
    w.pid,
    w.worker_number,
    w.state,
    w.task_id,
    w.task_type,
    w.handler,
    w.busy_since,
    w.in_flight,
    w.succeeded,
    w.failed,
    w.started_at,
    (
        select coalesce(t.priority, 0::smallint)
        from only queues.task t
        where t.task_id = w.task_id
    ) as priority,
    (
        select t.queue_key
        from only queues.task t
        where t.task_id = w.task_id
    ) as queue_key
from errand.worker_state() w;

-- Tasks with their current status.
create or replace view queues.task_status as
with workers as materialized (
    select w.owner, w.task_id, w.busy_since, w.recent, w.runs
    from errand.worker_state() w
),
-- Shared memory is read after the snapshot was taken. So a task that a worker has started since, and that is unfinished
-- in the snapshot, was running.
running as (
    select r.task_id, max(r.busy_since) as busy_since, max(r.runs) as runs
    from (
        select w.task_id, w.busy_since, w.runs
        from workers w
        union all
        select unnest(w.recent), null, 1
        from workers w
    ) r
    group by r.task_id
)
select
    t.task_id,
    t.task_type,
    case
        when t.finished_at is not null then t.final_status
        when running.task_id is not null then 'running'
        when t.calling and calling.task_id is not null then 'running'
        when t.leased and t.not_before > clock_timestamp() then 'running'
        when t.scheduled_at > clock_timestamp() then 'scheduled'
        else 'ready'
    end as status,
    least(
        t.attempts::bigint + case when t.calling then 0 else coalesce(running.runs, 0) end,
        2147483647
    )::integer as attempts,
    t.enqueued_at,
    t.scheduled_at,
    coalesce(running.busy_since, t.dequeued_at) as started_at,
    t.finished_at,
    (
        select e.error_message
        from only queues.error e
        where e.task_id = t.task_id
        order by e.error_id desc
        limit 1
    ) as last_error,
    t.outcome,
    -- whether the task came from another database, and waits for queues.adopt()
    t.finished_at is null and t.origin <> (select errand.queue_origin()) as unadopted,
    coalesce(t.priority, 0::smallint) as priority,
    t.unique_key,
    t.queue_key
from only queues.task t
left join running on running.task_id = t.task_id
    and t.finished_at is null
    and t.origin = (select errand.queue_origin())
left join (
    select c.task_id
    from only queues.call c
    join workers w on w.owner = c.owner
    where c.request is not null
) calling on calling.task_id = t.task_id and t.calling;

-- Says why a task has not started or not ended. It locks nothing and never waits, and works in transactions that only
-- read and on standbys. It is volatile, since what it reads in shared memory changes at any time.
create function queues.explain(
    _task_id bigint,
    out task_id bigint,
    out task_type text,
    out status text,
    out reason text,
    out explanation text,
    out until timestamptz,
    out blocking_task_id bigint,
    out blocking_pid integer,
    out hint text
)
returns setof record
volatile
strict
rows 1
language c
security definer
set search_path = pg_catalog, pg_temp
as 'MODULE_PATHNAME', 'explain_wrapper';

comment on column queues.task.unique_key is 'Identifies the task among unfinished tasks of its type, see queues.enqueue';
comment on column queues.task.follows is 'The task of the same unique key after whose end this task starts';
comment on column queues.task.queue_key is 'Tasks of the same type and key run in order, at most max_running_per_key at a time';
comment on column queues.task.priority is 'Tasks of a higher priority start first; null is 0';
comment on column queues.task_definition.max_running is 'How many tasks of this type run at once, including those whose call is in flight; null: no limit';
comment on column queues.task_definition.starts_per_second is 'How many tasks of this type start per second; null: no limit';
comment on column queues.task_definition.max_running_per_key is 'How many tasks of this type and of one queue key run at once; 1: one after the other, in order';
comment on column queues.task_definition.starts_per_second_per_key is 'How many tasks of this type and of one queue key start per second; null: no limit';
comment on column queues.task_definition.burst is 'How many tasks may start at once after a time without any; null: a tenth of starts_per_second';
comment on column queues.task_definition.priority_ages_every is 'The priority of a ready task rises by one for each such interval since scheduled_at; null: never';
comment on table queues.paused_key is 'Queue keys that are paused, see queues.pause_key';
comment on column queues.paused_key.paused_until is 'When the pause ends; null: with queues.resume_key';
comment on function queues.enqueue(text, jsonb, timestamptz, text, text, interval, interval, integer, text) is 'Enqueues a task, due now or at a time; returns its id';
comment on function queues.enqueue_many(jsonb) is 'Enqueues the tasks of an array; returns their ids in order';
comment on function queues.enqueue_many(text, jsonb[], timestamptz[], text[], text, interval, interval, integer, text[]) is 'Enqueues a task for each payload; returns their ids in order';
comment on function queues.explain(bigint) is 'Says why a task has not started or not ended: the reason, until when, what is in the way, what to do';
comment on function queues.pause_key(text, text, timestamptz, text) is 'Pauses a queue key: none of its tasks starts';
comment on function queues.resume_key(text, text) is 'Ends the pause of a queue key; false if it was not paused';
comment on function errand.announce_follower(bigint) is 'Has the commit announce what the end of a task lets start';
comment on function errand.announce_key(text, text) is 'Has the commit announce that a task of a queue key may start';
comment on function errand.try_key_lock(text, text) is 'Locks a queue key until the transaction ends';
comment on function errand.workers_of_key(text, text) is 'The number of workers that run a task of a queue key, or are about to';
comment on function errand.has_key_start(text, text) is 'Whether the rate of a queue key lets a task start';
comment on function errand.reserve_key_start(text, text) is 'Counts the start of a task of a queue key, within its rate';
comment on function errand.give_back_key_start(text, text) is 'Revokes the start of a task of a queue key';
comment on function errand.check_key(text, text) is 'Raises an error unless a task can have a queue key';
comment on function errand.is_key_paused(text, text) is 'Whether a queue key is paused';
comment on function errand.free_keys(text[], timestamptz) is 'The next task of each queue key that has one which may start';
comment on function errand.count_busy_of_key(text, text) is 'The number of tasks of a queue key that run outside the processes of workers';
comment on function errand.lock_next_of_key(text, text) is 'Locks the next task of a queue key';
comment on function errand.lock_next_plain(text[], timestamptz, integer, timestamptz, bigint) is 'Locks the next ready task without a queue key of some types';
comment on function errand.lock_next_ready(text[], timestamptz) is 'Locks the next ready task of some types';
comment on function errand.lock_next_aged(text[], timestamptz, integer, timestamptz, bigint) is 'Locks the next ready task of some types, of which some have an order of their own';
comment on function errand.check_start_limit(text, text, double precision) is 'Raises an error if a limit of a task type is not valid';
comment on function errand.reserve_start(text, bigint) is 'Reserves the start of a task for a worker outside, within the limits of its type';
comment on function errand.has_start(text, bigint) is 'Whether the limits of a task type let a worker outside start a task';
comment on function errand.count_leases(text) is 'The number of leased tasks of a type';
comment on function errand.limited_types(text[]) is 'Those of these task types that have limits';
comment on function errand.may_start(text) is 'Whether a worker outside may dequeue a task of a limited type';
comment on function errand.begin_start(text) is 'Reserves the start of a task of a limited type for a worker outside';

-- New functions have no privileges but those that sql/90_rights.sql grants, whatever ALTER DEFAULT PRIVILEGES says. Who
-- might execute queues.enqueue before may execute it, and queues.enqueue_many.
do $$
declare
    _function regprocedure;
    _grantee text;
    _given text;
begin
    foreach _function in array array[
        'errand.check_start_limit(text, text, double precision)',
        'queues.enqueue(text, jsonb, timestamptz, text, text, interval, interval, integer, text)',
        'queues.enqueue_many(jsonb)',
        'queues.enqueue_many(text, jsonb[], timestamptz[], text[], text, interval, interval, integer, text[])',
        'errand.has_start(text, bigint)',
        'errand.reserve_start(text, bigint)',
        'errand.count_leases(text)',
        'errand.limited_types(text[])',
        'errand.may_start(text)',
        'errand.begin_start(text)',
        'errand.lock_next_aged(text[], timestamptz, integer, timestamptz, bigint)',
        'errand.announce_key(text, text)',
        'errand.try_key_lock(text, text)',
        'errand.workers_of_key(text, text)',
        'errand.has_key_start(text, text)',
        'errand.reserve_key_start(text, text)',
        'errand.give_back_key_start(text, text)',
        'errand.check_key(text, text)',
        'queues.pause_key(text, text, timestamptz, text)',
        'errand.is_key_paused(text, text)',
        'queues.resume_key(text, text)',
        'errand.free_keys(text[], timestamptz)',
        'errand.count_busy_of_key(text, text)',
        'errand.lock_next_of_key(text, text)',
        'errand.lock_next_plain(text[], timestamptz, integer, timestamptz, bigint)',
        'errand.lock_next_ready(text[], timestamptz)',
        'errand.announce_follower(bigint)',
        'queues.explain(bigint)'
    ]::regprocedure[] loop
        for _grantee in
            select distinct case when a.grantee = 0 then 'public' else a.grantee::regrole::text end
            from pg_proc p
            cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
            where p.oid = _function
                and a.grantee <> p.proowner
        loop
            execute format('revoke all on function %s from %s', _function, _grantee);
        end loop;

        if (select p.proname in ('enqueue', 'enqueue_many') from pg_proc p where p.oid = _function) then
            for _given in select jsonb_array_elements_text(current_setting('errand_upgrade.grants')::jsonb) loop
                execute format('grant execute on function %s %s', _function, _given);
            end loop;
        end if;
    end loop;
end;
$$;
