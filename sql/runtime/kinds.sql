-- All types of tasks; roles by name, also before 0.4.1, where they are kept as text.
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
from queues.task_kind k
order by k.name;
