-- Checks an array of tasks. Returns the JSON type of what is not an object, or null; the first element that is wrong, or
-- null if the array itself is; an unknown key of it; whether no task has other keys than those that every task has. $1
-- array, $2 known keys.
with element as materialized (
    select e.task, e.place, jsonb_typeof(e.task) as kind
    from jsonb_array_elements(case when jsonb_typeof($1) = 'array' then $1 else '[]' end)
        with ordinality e (task, place)
),
given as materialized (
    select k.name, ltrim(left(k.name, 1), '_') || substr(k.name, 2) as argument, min(e.place) as place
    from element e
    cross join lateral jsonb_object_keys(case when e.kind = 'object' then e.task else '{}' end) k (name)
    group by k.name
),
wrong as (
    select jsonb_typeof($1) as kind, null::bigint as place, null::text as name
    where jsonb_typeof($1) <> 'array'
    union all
    (select e.kind, e.place, null from element e where e.kind <> 'object' order by e.place limit 1)
    union all
    (select null, g.place, g.name from given g where g.argument <> all ($2) order by g.place limit 1)
)
select
    w.kind,
    w.place,
    w.name,
    not exists (
        select 1
        from given g
        where g.argument <> all ('{task_type,payload,scheduled_at,priority,queue_key}')
    )
from (select) one
left join (select * from wrong order by place limit 1) w on true;
