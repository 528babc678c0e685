insert into bench.reference (payload) values ('{"db_function": "bench.nothing"}');
