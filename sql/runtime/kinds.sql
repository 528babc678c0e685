-- All task types. Roles come as names, also from tables before 0.4.1, where granted_to is an array of text.
select
    k.name,
    k.processor,
    k.provider,
    k.provider_setting,
    array(
        select g.grantee::text
        from unnest(k.granted_to) as g (grantee)
        where g.grantee is not null
    )
from only queues.task_kind k
order by k.name;
