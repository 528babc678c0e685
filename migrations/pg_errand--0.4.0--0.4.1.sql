-- 0.4.1: what corrupted, doubled, lost, or let someone in.

set local search_path = pg_catalog, pg_temp;

-- == Tables: src/pg/table.rs ==


-- == Rights of roles ==


-- == Enqueueing, handlers ==


-- == Providers and calls ==


-- == Numbers and sizes ==


-- == Commands and restarts ==

