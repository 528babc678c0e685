-- Calls function_name(payload) with the caller's rights. The name is an optionally qualified,
-- optionally quoted identifier; it is resolved as such and never becomes SQL text of its own.
create function internal.run_function(function_name text, payload jsonb)
returns jsonb
language plpgsql
security invoker
as $$
declare
    _name pg_catalog.text;
    _result pg_catalog.jsonb;
begin
    select pg_catalog.string_agg(pg_catalog.quote_ident(part), '.' order by position)
    into _name
    from pg_catalog.unnest(pg_catalog.parse_ident(function_name)) with ordinality as parts (part, position);

    execute 'select ' operator(pg_catalog.||) _name operator(pg_catalog.||) '($1)::pg_catalog.jsonb'
    into _result
    using coalesce(payload, '{}');

    return coalesce(_result, '{}');
end;
$$;
