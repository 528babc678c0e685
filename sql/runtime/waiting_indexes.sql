-- Returns indexes of table $1 that have the unfinished tasks which are in no call, each of them once: those of plain
-- tasks, of prioritized ones, and of those with a queue key; null unless all exist.
select array_agg(i.index order by i.index)
from (
    select min(i.indexrelid::bigint) as index
    from pg_index i
    join pg_class x on x.oid = i.indexrelid
    where i.indrelid = $1
        and i.indisvalid
        and not i.indcheckxmin
        and x.relam = 403
        and pg_get_expr(i.indpred, i.indrelid) in (
            '((finished_at IS NULL) AND (NOT calling) AND (priority IS NULL) AND (queue_key IS NULL))',
            '((finished_at IS NULL) AND (NOT calling) AND (priority IS NOT NULL) AND (queue_key IS NULL))',
            '((finished_at IS NULL) AND (queue_key IS NOT NULL))'
        )
    group by pg_get_expr(i.indpred, i.indrelid)
) i
having count(*) = 3;
