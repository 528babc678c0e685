-- What an error handler is given.
select jsonb_build_object('original_payload', $1, 'error', $2);
