-- Takes over orphaned calls. Those of a batch are taken over together, unless some of its tasks have ended. $1 new owner,
-- $2 live owners, $3 first owner that is newer than that list, $4 limit (a batch counts as one), $5 origin of this
-- database.
with first as (
    select o.task_id
    from only queues.call o
    join only queues.task t on t.task_id = o.task_id
    where o.request is not null
        and o.owner < $3
        and o.owner <> all ($2)
        and t.calling
        and t.finished_at is null
        and t.origin = $5
        and (
            o.batch is null
            or o.batch = o.task_id
            or not exists (
                select 1
                from only queues.call l
                where l.task_id = o.batch
                    and l.request is not null
            )
        )
    order by o.task_id
    limit $4
    for no key update of o skip locked
),
member as (
    select o.task_id, o.batch
    from only queues.call o
    where o.batch in (select f.task_id from first f)
        and o.request is not null
    order by o.task_id
    for no key update skip locked
),
-- Batches of which another session has locked a call.
locked as (
    select o.batch
    from only queues.call o
    where o.batch in (select f.task_id from first f)
        and o.request is not null
        and o.task_id not in (select m.task_id from member m)
),
orphan as (
    select f.task_id
    from first f
    union
    select m.task_id
    from member m
)
update only queues.call c
set owner = $1
from orphan o
where c.task_id = o.task_id
    and (c.batch is null or c.batch not in (select l.batch from locked l))
returning
    c.task_id,
    (
        select t.task_type
        from only queues.task t
        where t.task_id = c.task_id
    ) as task_type,
    c.provider,
    c.idempotency_key,
    c.request,
    c.responded_at is not null as is_answered,
    -- Up to PostgreSQL 16, no interval is infinite.
    case
        when isfinite(c.requested_at) then extract(epoch from clock_timestamp() - c.requested_at)::float8
        else 'infinity'
    end as age,
    c.batch,
    c.batch_size;
