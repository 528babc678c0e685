-- Calls function_name(payload) with the privileges of the caller. The name is an optionally qualified and quoted
-- identifier: it is parsed as one, and quoted again before it becomes part of a statement.
create function internal.run_function(function_name text, payload jsonb)
returns jsonb
language plpgsql
security invoker
as $$
declare
    _name pg_catalog.text;
    _parts pg_catalog.text[];
    _result pg_catalog.jsonb;
begin
    select pg_catalog.string_agg(pg_catalog.quote_ident(part), '.' order by position), pg_catalog.array_agg(part order by position)
    into _name, _parts
    from pg_catalog.unnest(pg_catalog.parse_ident(function_name)) with ordinality as parts (part, position);

    -- If the name were that of a type, the statement below would be a cast.
    if pg_catalog.to_regtype(_name) is not null
        and not exists (
            select
            from pg_catalog.pg_proc p
            join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) p.pronamespace
            join pg_catalog.pg_type t on t.oid operator(pg_catalog.=) p.proargtypes[0]
            where p.proname operator(pg_catalog.=) _parts[pg_catalog.cardinality(_parts)]
                and case
                    when pg_catalog.cardinality(_parts) operator(pg_catalog.=) 1 then pg_catalog.pg_function_is_visible(p.oid)
                    else n.nspname operator(pg_catalog.=) _parts[pg_catalog.cardinality(_parts) operator(pg_catalog.-) 1]
                end
                and p.pronargs operator(pg_catalog.-) p.pronargdefaults operator(pg_catalog.<=) 1
                -- The argument is jsonb, a domain over it or a pseudo-type.
                and (
                    t.typtype operator(pg_catalog.=) 'p'
                    or t.oid operator(pg_catalog.=) 'pg_catalog.jsonb'::pg_catalog.regtype
                    or t.typbasetype operator(pg_catalog.=) 'pg_catalog.jsonb'::pg_catalog.regtype
                )
        )
    then
        raise exception '"%" is not a function', function_name
            using errcode = 'wrong_object_type', hint = 'Name a function that takes one jsonb argument.';
    end if;

    execute 'select ' operator(pg_catalog.||) _name operator(pg_catalog.||) '($1)::pg_catalog.jsonb'
    into _result
    using coalesce(payload, '{}');

    return coalesce(_result, '{}');
end;
$$;

-- Makes the extension depend on a schema that is not a member of it. pg_dump then creates the schema "internal" before
-- the extension, which otherwise would create it first.
create function errand.depend_on_schema(_schema regnamespace)
returns void
strict
language c
as 'MODULE_PATHNAME', 'depend_on_schema_wrapper';

select errand.depend_on_schema('internal');
