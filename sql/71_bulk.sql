-- Operations on many tasks. Each call is one transaction of at most _limit tasks: it is repeated until it returns 0.

-- Logs a call of a function that steers tasks: its name, its arguments and the number of tasks that it changed.
create function errand.log_steering(_function text, _arguments text, _tasks bigint)
returns void
strict
language c
as 'MODULE_PATHNAME', 'log_steering_wrapper';

-- Raises an error unless the arguments of an operation on many tasks are valid.
create function errand.check_selection(_task_type text, _older_than interval, _limit integer)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if _task_type is not null then
        perform errand.check_task_type(_task_type);
    end if;
    if _older_than < '0' then
        raise exception '_older_than is negative'
            using errcode = 'invalid_parameter_value',
                  hint = 'Use 0 for tasks of any age.';
    end if;
    if _limit is null or _limit < 1 then
        raise exception '_limit has to be 1 or more'
            using errcode = 'invalid_parameter_value',
                  hint = 'Leave _limit out for its default, and repeat the call until it returns 0.';
    end if;
end;
$$;

-- Cancels waiting tasks that are locked.
create function errand.cancel_locked(_task_ids bigint[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    update only queues.task
    set finished_at = clock_timestamp(),
        final_status = 'cancelled',
        leased = false,
        not_before = null
    where task_id = any (_task_ids);

    if exists (
        select 1
        from only queues.task t
        where t.task_id = any (_task_ids)
            and t.finished_at is null
    ) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    perform errand.count_task(t.task_id, t.task_type, 'cancelled')
    from only queues.task t
    where t.task_id = any (_task_ids)
        and t.final_status = 'cancelled';

    perform errand.announce_follower(t.task_id)
    from only queues.task t
    where t.task_id = any (_task_ids)
        and t.unique_key is not null;

    perform errand.announce_key(k.task_type, k.queue_key)
    from (
        select distinct t.task_type, t.queue_key
        from only queues.task t
        where t.task_id = any (_task_ids)
            and t.queue_key is not null
    ) k;
end;
$$;

-- Cancels waiting tasks (scheduled, ready or deferred) of a type, that were enqueued at least _older_than ago, or of a queue
-- key; returns their number. At least one condition is given; _older_than => '0' stands for all. Tasks that run, or whose
-- call is under way, and unadopted ones are left alone.
--
-- Those that would start last are cancelled first, so that workers meet few locked tasks. The settings have the indexes used,
-- whatever the statistics say.
create function queues.cancel_where(
    _task_type text default null,
    _older_than interval default null,
    _queue_key text default null,
    _limit integer default 10000
)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set jit = off
as $$
declare
    _order record;
    _found bigint[];
    _cancelled bigint := 0;
begin
    if _task_type is null and _older_than is null and _queue_key is null then
        raise exception 'queues.cancel_where needs a condition'
            using errcode = 'invalid_parameter_value',
                  hint = 'To cancel all waiting tasks, run: SELECT queues.cancel_where(_older_than => ''0'');';
    end if;
    perform errand.check_selection(_task_type, _older_than, _limit);

    -- Lock the table before it is read: a stronger lock later on could deadlock with REINDEX.
    lock table only queues.task in row exclusive mode;

    -- One search for each index of unfinished tasks.
    for _order in
        select o.condition, o.columns
        from (
            values
                (
                    't.priority is null and t.queue_key is null and not t.calling',
                    't.scheduled_at desc, t.task_id desc',
                    _queue_key is null
                ),
                (
                    't.priority is not null and t.queue_key is null and not t.calling',
                    't.priority, t.scheduled_at, t.task_id',
                    _queue_key is null
                ),
                (
                    't.queue_key is not null',
                    't.scheduled_at desc, t.task_id desc',
                    _queue_key is null or _task_type is null
                ),
                (
                    't.queue_key is not null
                        and hashtextextended(t.task_type, 0) = hashtextextended($1, 0)
                        and hashtextextended(t.queue_key, 0) = hashtextextended($3, 0)',
                    't.scheduled_at desc, t.task_id desc',
                    _queue_key is not null and _task_type is not null
                )
        ) as o (condition, columns, is_used)
        where o.is_used
    loop
        exit when _cancelled >= _limit;
        execute format(
            'select array(
                select t.task_id
                from only queues.task t
                where t.origin = $4
                    and t.finished_at is null
                    and %s
                    and not t.calling
                    and not (t.leased and t.not_before > $5)
                    and ($1 is null or t.task_type = $1)
                    and ($2 is null or t.enqueued_at <= $5 - $2)
                    and ($3 is null or t.queue_key = $3)
                order by %s
                limit $6
                for no key update skip locked
            )',
            _order.condition,
            _order.columns
        )
        into _found
        using _task_type, _older_than, _queue_key, errand.queue_origin(), clock_timestamp(), _limit - _cancelled;
        perform errand.cancel_locked(_found);
        _cancelled := _cancelled + cardinality(_found);
    end loop;

    perform errand.log_steering(
        'cancel_where',
        concat_ws(
            ', ',
            '_task_type => ' || quote_literal(_task_type),
            '_older_than => ' || quote_literal(_older_than),
            '_queue_key => ' || quote_literal(_queue_key),
            '_limit => ' || _limit
        ),
        _cancelled
    );
    return _cancelled;
end;
$$;
