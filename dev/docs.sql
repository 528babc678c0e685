select '| setting | default | limits | who may set it | meaning |'
union all
select '| --- | --- | --- | --- | --- |';

select format(
    '| `%s` | %s | %s | %s | %s %s |',
    name,
    case
        when name like '%key' then '(hidden)'
        when boot_val = '' then '`''''`'
        -- with the largest unit that fits
        when unit is not null and setting = boot_val then format('`%s`', current_setting(name))
        else format('`%s%s`', boot_val, case when boot_val <> '0' then unit end)
    end,
    case
        when vartype = 'integer' then format('%s to %s%s', min_val, max_val, ' ' || unit)
        when enumvals is not null then array_to_string(enumvals, ', ')
        else ''
    end,
    case context when 'sighup' then 'reload' else context end,
    short_desc,
    extra_desc
)
from pg_settings
where name like 'pg_errand.%'
order by name;
