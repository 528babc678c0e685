-- Returns the name of table $1, and the rules and triggers of users that may have suppressed the write of a row: rules and
-- BEFORE row triggers, or if there are none, all triggers. $2 command as in pg_trigger.tgtype, $3 command as in
-- pg_rewrite.ev_type.
with suspect (name, is_before) as (
    -- TRIGGER_TYPE_ROW and TRIGGER_TYPE_BEFORE
    select format('trigger "%s"', t.tgname), t.tgtype & 3 = 3
    from pg_trigger t
    where t.tgrelid = $1
        and not t.tgisinternal
        and t.tgenabled <> 'D'
        and t.tgtype & $2 <> 0
        and not exists (
            select 1
            from pg_depend d
            join pg_extension e on e.oid = d.refobjid
            where d.classid = 'pg_proc'::regclass
                and d.objid = t.tgfoid
                and d.refclassid = 'pg_extension'::regclass
                and d.deptype = 'e'
                and e.extname = 'pg_errand'
        )
    union all
    select format('rule "%s"', r.rulename), true
    from pg_rewrite r
    where r.ev_class = $1
        and r.ev_enabled <> 'D'
        and r.ev_type::text = $3
)
select
    $1::regclass::text,
    coalesce(
        string_agg(s.name, ' or ' order by s.name) filter (where s.is_before),
        string_agg(s.name, ' or ' order by s.name)
    )
from suspect s;
