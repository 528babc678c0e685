use super::{error_of, text};
use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use super::*;

    #[pg_test]
    fn calls_the_named_function() {
        Spi::run(
            r#"create schema s;
               create function s."Weird.Name"(p jsonb, more integer default 1) returns jsonb
               language sql as 'select jsonb_build_object(''got'', p)';
               create function s.nothing(jsonb) returns jsonb language sql as 'select null::jsonb';
               create function s.as_json(jsonb) returns json language sql as 'select ''{"a":1}''::json'"#,
        )
        .unwrap();
        for (call, result) in [
            (r#"internal.run_function('s."Weird.Name"', '{"a": 1}')"#, r#"{"got": {"a": 1}}"#),
            (r#"internal.run_function('s."Weird.Name"', null)"#, r#"{"got": {}}"#),
            ("internal.run_function('s.nothing', '{}')", "{}"),
            ("internal.run_function('s.as_json', '{}')", r#"{"a": 1}"#),
        ] {
            assert_eq!(text(&format!("select {call}::text")).unwrap(), result, "{call}");
        }
    }

    #[pg_test]
    fn a_name_is_never_sql() {
        for name in ["x(); drop table y; --", "a b", "x()", "", "1x", "s.", "\"unterminated"] {
            let (sqlstate, ..) = error_of(&format!("select internal.run_function($n${name}$n$, '{{}}')"));
            assert_eq!(sqlstate, "22023", "{name}");
        }
    }
}
