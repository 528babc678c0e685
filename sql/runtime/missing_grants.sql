-- Returns the GRANT statements that role $1 lacks to call the function with the name parts $2, or to find that there is no such
-- function; null if it lacks nothing.
select string_agg(statement, ' ' order by statement desc)
from (
    select format('GRANT USAGE ON SCHEMA %I TO %I;', n.nspname, $1) as statement
    from pg_namespace n
    where n.nspname = $2[array_upper($2, 1) - 1]
        and not has_schema_privilege($1, n.oid, 'usage')
    union
    select format(
        'GRANT EXECUTE ON FUNCTION %I.%I(%s) TO %I;',
        n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), $1
    )
    from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    where p.proname = $2[array_upper($2, 1)]
        and case
            when array_upper($2, 1) > 1 then n.nspname = $2[array_upper($2, 1) - 1]
            else pg_function_is_visible(p.oid)
        end
        and p.pronargs - p.pronargdefaults <= 1
        and p.proargtypes[0] = 'jsonb'::regtype
        and not has_function_privilege($1, p.oid, 'execute')
) needed;
