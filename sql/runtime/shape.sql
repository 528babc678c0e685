-- Returns the index of the primary key of table $1 if rows may be written without the executor, because a statement
-- would do nothing else, otherwise null; all indexes of the table; and the numbers of the columns $2. $2 columns, the
-- key first, $3 which of these are changed, $4 predicates of partial indexes, which are false for each row that was
-- changed and true for each row that is inserted, $5 whether rows are inserted.
with wanted as (
    select array(
        select a.attnum
        from unnest($2) with ordinality w (definition, place)
        join pg_attribute a on w.definition = concat_ws(
            ' ',
            a.attname,
            format_type(a.atttypid, a.atttypmod),
            case when a.attnotnull then 'not null' end,
            case
                when $5 then 'default ' || (
                    select pg_get_expr(d.adbin, d.adrelid)
                    from pg_attrdef d
                    where d.adrelid = a.attrelid and d.adnum = a.attnum
                )
            end,
            case when $5 and a.attidentity <> '' then 'identity' end
        )
        where a.attrelid = $1
            and a.attnum > 0
            and not a.attisdropped
        order by w.place
    ) as numbers
)
select
    (
        select k.indexrelid::bigint
        from pg_index k
        join pg_class c on c.oid = k.indrelid
        where k.indrelid = $1
            and k.indisprimary
            and k.indimmediate
            and k.indisvalid
            and k.indisready
            and k.indislive
            and k.indnatts = 1
            and k.indkey[0] = w.numbers[1]
            and c.relkind = 'r'
            -- heap
            and c.relam = 2
            and c.relreplident in ('d', 'f')
            and not (c.relrowsecurity and c.relforcerowsecurity)
            and cardinality(w.numbers) = cardinality($2)
    )
    -- Null if a statement would do something besides writing the row.
    * case
        when exists (
            select 1
            from pg_attribute a
            where a.attrelid = $1
                and a.attnum > 0
                and (a.attgenerated <> '' or ($5 and not a.attisdropped and a.attnum <> all (w.numbers)))
        ) then null
        when exists (
            select 1
            from pg_index i
            where i.indrelid = $1
                and i.indislive
                and not i.indisprimary
                and not coalesce(
                    pg_get_expr(i.indpred, i.indrelid) = any ($4)
                        and (
                            not $5
                            or (
                                i.indisready
                                and i.indimmediate
                                and not i.indisexclusion
                                and i.indnatts = 1
                                and i.indexprs is null
                                -- Other access methods than btree are left to the executor.
                                and exists (
                                    select 1
                                    from pg_class x
                                    where x.oid = i.indexrelid
                                        and x.relam = 403
                                )
                            )
                        ),
                    false
                )
        ) then null
        when exists (
            select 1
            from pg_trigger t
            where t.tgrelid = $1
                and t.tgenabled <> 'D'
                -- TRIGGER_TYPE_UPDATE and TRIGGER_TYPE_INSERT
                and (
                    t.tgtype & 16 <> 0 and (
                        cardinality(t.tgattr::smallint[]) = 0
                        or t.tgattr::smallint[] && array(select w.numbers[c] from unnest($3) c)
                    )
                    or t.tgtype & 4 <> 0 and $5
                )
        ) then null
        when exists (select 1 from pg_rewrite r where r.ev_class = $1 and r.ev_enabled <> 'D') then null
        when exists (select 1 from pg_constraint c where c.conrelid = $1 and c.contype = 'c') then null
        when exists (select 1 from pg_inherits h where h.inhparent = $1 or h.inhrelid = $1) then null
        -- A publication with a column list or a row filter.
        when exists (
            select 1
            from pg_publication_rel p
            where p.prrelid = $1
                and (p.prqual is not null or p.prattrs is not null)
        ) then null
        else 1
    end,
    array(select i.indexrelid::bigint from pg_index i where i.indrelid = $1),
    w.numbers
from wanted w;
