-- Redaction: tasks of a type with redact_payload lose what they carried when they succeed, in the same transaction.

-- What is left of a payload: the names of its handlers.
create function errand.redacted(_payload jsonb)
returns jsonb
language sql
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_object_agg(f.name, f.value), '{}')
    from jsonb_each(case when jsonb_typeof(_payload) = 'object' then _payload else '{}' end) as f (name, value)
    where f.name in ('db_function', 'before_handler', 'success_handler', 'error_handler')
        and jsonb_typeof(f.value) = 'string';
$$;

-- Redacts a task that has succeeded, if its type requires it. Raises an error if a trigger or rule has prevented that.
create function errand.redact(_task_id bigint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    _payload jsonb;
begin
    update only queues.task t
    set payload = errand.redacted(t.payload)
    where t.task_id = _task_id
        and t.final_status = 'succeeded'
        and exists (
            select 1
            from only queues.task_definition d
            where d.task_type = t.task_type
                and d.redact_payload
        );

    select t.payload
    into _payload
    from only queues.task t
    join only queues.task_definition d on d.task_type = t.task_type
    where t.task_id = _task_id
        and t.final_status = 'succeeded'
        and d.redact_payload;
    if not found then
        return;
    end if;
    if _payload <> errand.redacted(_payload) then
        perform errand.refuse_unwritten('queues.task');
    end if;

    update only queues.call
    set request = null,
        response = null
    where task_id = _task_id;
    if exists (
        select 1
        from only queues.call c
        where c.task_id = _task_id
            and (c.request is not null or c.response is not null)
    ) then
        perform errand.refuse_unwritten('queues.call');
    end if;
end;
$$;
