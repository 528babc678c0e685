-- Returns all task definitions, with the names of grantees.
select
    d.task_type,
    d.processor,
    d.provider,
    d.provider_setting,
    array(
        select g.grantee::text
        from unnest(d.granted_to) as g (grantee)
        where g.grantee is not null
    )
from only queues.task_definition d
order by d.task_type;
