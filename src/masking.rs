//! Masks the secrets in the statements of all sessions.

use crate::config;
use crate::pg::statement::{self, Rule, backslash_escapes};
use pg_errand_calls::statement as masking;
use pg_errand_calls::statement::{Pieces, SettingNames, Syntax};
use std::sync::OnceLock;

static NAMES: OnceLock<SettingNames> = OnceLock::new();

/// Must be called while the postmaster preloads libraries.
pub fn init() {
    statement::hide(&Rule { concerns, mask, mask_message, mask_pieces: masking::mask_pieces });
}

fn names() -> &'static SettingNames {
    NAMES.get_or_init(|| {
        let (secrets, others) = config::names();
        SettingNames { secrets, others }
    })
}

fn concerns(text: &[u8]) -> bool {
    names().are_concerned(text)
}

fn mask(text: &mut [u8]) -> Pieces {
    masking::mask(names(), Syntax { is_statement: true, backslash_escapes: backslash_escapes() }, text)
}

fn mask_message(text: &mut [u8]) -> Pieces {
    masking::mask(names(), Syntax { is_statement: false, backslash_escapes: backslash_escapes() }, text)
}
