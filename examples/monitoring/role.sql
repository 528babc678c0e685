-- The role of the exporter: it may read statistics, and neither payloads nor messages of tasks. Run it in each database.
do $$
begin
    if to_regrole('errand_exporter') is null then
        create role errand_exporter login connection limit 5;
    end if;
end;
$$;

select queues.grant_role('errand_exporter', 'monitor');

-- A scrape takes milliseconds, see docs/monitoring.md. What takes that long waits for something.
alter role errand_exporter set statement_timeout = '10s';
