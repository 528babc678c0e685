-- Returns a btree index of table $1 whose first key is the time of an error, and that has all rows.
select min(i.indexrelid::bigint)
from pg_index i
join pg_class x on x.oid = i.indexrelid
where i.indrelid = $1
    and i.indisvalid
    and not i.indcheckxmin
    and x.relam = 403
    and i.indpred is null
    and pg_get_indexdef(i.indexrelid, 1, true) = 'created_at';
