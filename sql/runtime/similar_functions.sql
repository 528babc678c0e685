-- Returns the functions with the name parts $1 and any arguments; null if there are none.
select string_agg(format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), ', ')
from pg_proc p
join pg_namespace n on n.oid = p.pronamespace
where p.proname = $1[array_upper($1, 1)]
    and case
        when array_upper($1, 1) > 1 then n.nspname = $1[array_upper($1, 1) - 1]
        else n.nspname not in ('pg_catalog', 'information_schema')
    end;
