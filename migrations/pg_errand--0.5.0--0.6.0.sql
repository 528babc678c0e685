-- 0.5.0 to 0.6.0. What it makes of an installed 0.5.0 has to be what sql/ installs, see tests/upgrade.rs.

set local search_path = pg_catalog, pg_temp;
