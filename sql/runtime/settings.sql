-- Returns the settings that ALTER DATABASE and ALTER ROLE … SET have stored. Database 0 and role '' stand for all.
select s.setdatabase, coalesce(r.rolname, '')::text, s.setconfig
from pg_db_role_setting s
left join pg_roles r on r.oid = s.setrole
order by s.setdatabase, s.setrole;
