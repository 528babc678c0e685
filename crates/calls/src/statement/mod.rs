//! Masks statements that may contain a secret: every literal, and every value that is set, is replaced by asterisks.
//! The text keeps its length, so that error positions remain valid.

mod names;
mod scan;

pub use names::SettingNames;
use scan::Mask;
pub use scan::{Pieces, Syntax};

/// Shorter pieces of a statement are not searched in messages, since they would be found in any word.
const MIN_PIECE: usize = 4;
/// How many levels of literals within literals are masked.
const MAX_DEPTH: usize = 3;
/// The largest product of the sizes of the pieces and of a text, in bytes, up to which they are compared. If it is
/// exceeded, the whole text is masked.
const MAX_COMPARED: usize = 1 << 27;

/// Masks literals, comments and values in `text`, and returns the original texts.
pub fn mask(names: &SettingNames, syntax: Syntax, text: &mut [u8]) -> Pieces {
    let mut pieces = Mask::replace_all(names, syntax, text);
    // A literal may be a statement itself.
    let mut from = 0;
    for _ in 0..MAX_DEPTH {
        let inner = |piece: &Vec<u8>| Mask::replace_all(names, syntax, &mut piece.clone());
        let concerned = pieces[from..].iter().filter(|piece| names.are_concerned(piece));
        let found: Pieces = concerned.flat_map(inner).collect();
        from = pieces.len();
        pieces.extend(found);
    }
    pieces.retain(|piece| piece.len() >= MIN_PIECE);
    pieces.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    pieces.dedup();
    pieces
}

/// Masks each of `pieces` where it occurs in `text`. True if any does.
pub fn mask_pieces(text: &mut [u8], pieces: &Pieces) -> bool {
    let size: usize = pieces.iter().map(Vec::len).filter(|size| *size <= text.len()).sum();
    if size.saturating_mul(text.len()) > MAX_COMPARED {
        text.fill(b'*');
        return true;
    }
    let mut any = false;
    for piece in pieces {
        let mut from = 0;
        while let Some(place) = text[from..].windows(piece.len()).position(|part| part == piece) {
            let start = from + place;
            from = start + piece.len();
            text[start..from].fill(b'*');
            any = true;
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "s3cret-Value/9+x=";

    fn names() -> SettingNames {
        SettingNames {
            secrets: vec!["resend_api_key", "smtp_password", "twilio_auth_token", "secrets"],
            others: vec!["call_timeout", "role", "secrets_dir"],
        }
    }

    fn mask(text: &mut [u8]) -> Pieces {
        super::mask(&names(), Syntax { is_statement: true, backslash_escapes: false }, text)
    }

    fn mask_message(text: &mut [u8]) {
        super::mask(&names(), Syntax { is_statement: false, backslash_escapes: false }, text);
    }

    #[test]
    fn statements_that_name_a_secret() {
        for text in [
            "alter system set pg_errand.resend_api_key = 'x'",
            "ALTER SYSTEM SET \"PG_Errand\".\"Resend_API_Key\" TO x",
            "set pg_errand . smtp_password = x",
            "select set_config('pg_errand.' || 'twilio_auth_token', 'x', false)",
            "alter system set pg_errand.secrets = '{}'",
            "alter system set pg_errand.resend_apikey = 'x'",
        ] {
            assert!(names().are_concerned(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "_",
            "select resend_api_key from mine",
            "alter system set pg_errand.call_timeout = '1s'",
            "alter system set pg_errand.secrets_dir = '/run/secrets'",
            "create extension pg_errand",
            "select secrets from t",
            "select 'This is pg_errand.'",
        ] {
            assert!(!names().are_concerned(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_anyone_may_send_takes_little_time_and_stack() {
        let dollars: String = (0..20_000).map(|i| format!("$a{i}$ ")).collect();
        for text in [
            format!("select 1 {} pg_errand.secrets", "-".repeat(1_000_000)),
            format!("select pg_errand.secrets, {}", "\"\" ".repeat(300_000)),
            format!("select 1 {dollars} pg_errand.secrets"),
            format!("select 1 {} pg_errand.secrets", "/* ".repeat(300_000)),
        ] {
            let mut copy = text.clone().into_bytes();
            let length = copy.len();
            let pieces = mask(&mut copy);
            mask_pieces(&mut text.into_bytes(), &pieces);
            assert_eq!(copy.len(), length);
        }
    }

    #[test]
    fn nested_comments_and_quotes_in_messages() {
        let mut text = format!("/* /* */ don't */ set pg_errand.smtp_password = '{VALUE}'").into_bytes();
        mask(&mut text);
        assert!(!String::from_utf8(text).unwrap().contains(VALUE));
        for message in [
            format!("SQL statement \"SELECT set_config('pg_errand.smtp_password','{VALUE}',false)\""),
            format!(
                "SQL statement \"set pg_errand.smtp_password = {VALUE}\"\nPL/pgSQL function \"F\"() line 1"
            ),
            format!("SQL statement \"set \"pg_errand\".\"smtp_password\" = {VALUE}\""),
            format!("{{ \"Query Text\": \"set pg_errand.smtp_password = \\\"{VALUE}\\\"\" }}"),
        ] {
            let mut text = message.into_bytes();
            mask_message(&mut text);
            let shown = String::from_utf8(text).unwrap();
            assert!(!shown.contains(VALUE), "{shown}");
        }
    }

    #[test]
    fn what_is_set_is_replaced_and_everything_else_stays() {
        let shown = |text: &str| {
            let mut copy = text.as_bytes().to_vec();
            mask(&mut copy);
            String::from_utf8(copy).unwrap()
        };
        for text in [
            "alter system set pg_errand.resend_api_key = '@'",
            "alter system set pg_errand.resend_api_key to '@';",
            "alter system set pg_errand.resend_api_key\n = @",
            "alter system set \"pg_errand\".\"resend_api_key\" = \"@\"",
            "alter system set pg_errand . secrets = @",
            "alter system set pg_errand.resend_api_key '@'",
            "alter system set pg_errand.resend_api_key @ x",
            "alter system set pg_errand.resend_api_key = '@",
            "alter system set pg_errand.resend_apikey = @",
            "alter sistem set pg_errand.secrets = E'{\\'@'",
            "set pg_errand.smtp_password = $$@$$",
            "set pg_errand.smtp_password = $a$@$a$",
            "select set_config('pg_errand.smtp_password', '@', false)",
            "do $do$ begin perform set_config('pg_errand.smtp_password', '@', false); end $do$",
            "show pg_errand.smtp_password -- @",
            "show /* @ */ pg_errand.smtp_password",
        ] {
            let text = text.replace('@', VALUE);
            let shown = shown(&text);
            assert!(!shown.contains(VALUE) && shown.len() == text.len(), "{text}: {shown}");
            let pieces = mask(&mut text.as_bytes().to_vec());
            let mut message = format!("near {VALUE}.").into_bytes();
            assert!(mask_pieces(&mut message, &pieces), "{text}");
        }
        let kept = "select set_config('pg_errand.smtp_password', $1, false), a + 1 from pg_errand.role";
        assert_eq!(shown(kept), kept);
        assert_eq!(shown("show pg_errand.smtp_password; select 7"), "show pg_errand.smtp_password; select 7");
    }
}
