//! Forms of a secret in base64 and hexadecimal digits, including those that are part of a longer encoded text.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};

/// Shorter forms are not redacted, since they occur in any text.
const MIN_LENGTH: usize = 4;
/// Shorter forms are redacted only where they stand alone.
const MIN_ANYWHERE: usize = 6;
/// The shortest beginning of a form that is redacted.
const MIN_BEGINNING: usize = 12;
/// Base64 of base64 is searched only if the inner one is at least this long.
const MIN_NESTED: usize = 8;
/// The number of bits in [`Encoded::begins`].
const TABLE: usize = 4096;
/// The number of bytes that select a bit.
const START: usize = 3;

/// The forms of a secret in hexadecimal digits, in base64, and in base64 of base64.
pub struct Encoded {
    forms: Vec<Form>,
    /// One bit for the start of each form, so that most positions of a text need only one look-up.
    begins: Box<[u64; TABLE / 64]>,
}

struct Form {
    text: String,
    ignores_case: bool,
}

impl Encoded {
    pub fn of(secret: &str) -> Self {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let once = base64_forms(secret);
        let twice = once.iter().filter(|form| form.len() >= MIN_NESTED).flat_map(|form| base64_forms(form));
        let exact = |text| Form { text, ignores_case: false };
        let mut forms: Vec<Form> = twice.chain(once.iter().cloned()).map(exact).collect();
        if hex.len() >= MIN_ANYWHERE {
            forms.push(Form { text: hex, ignores_case: true });
        }
        let mut begins = Box::new([0; TABLE / 64]);
        for form in &forms {
            let bit = bit(form.text.as_bytes());
            begins[bit / 64] |= 1 << (bit % 64);
        }
        Encoded { forms, begins }
    }

    /// Returns the length of the longest form at the start of `rest`, or of a long beginning of one, and whether it is
    /// redacted next to other letters.
    pub fn find(&self, rest: &[u8]) -> Option<(usize, bool)> {
        if rest.len() < MIN_LENGTH || self.begins[bit(rest) / 64] & (1 << (bit(rest) % 64)) == 0 {
            return None;
        }
        let longest = self.forms.iter().filter_map(|form| form.found(rest)).max()?;
        Some((longest, longest >= MIN_ANYWHERE))
    }
}

impl Form {
    fn found(&self, rest: &[u8]) -> Option<usize> {
        let is_same = |(a, b): &(&u8, &u8)| a == b || self.ignores_case && a.eq_ignore_ascii_case(b);
        let same = self.text.as_bytes().iter().zip(rest).take_while(is_same).count();
        let is_enough = same == self.text.len() || same >= MIN_BEGINNING.max(self.text.len().div_ceil(2));
        is_enough.then_some(same)
    }
}

fn bit(start: &[u8]) -> usize {
    start[..START].iter().fold(0, |hash, byte| (hash * 31 + usize::from(byte | 0x20)) % TABLE)
}

/// Returns the characters that every base64 text with this secret contains, in both alphabets, and for each position in
/// a group of three bytes at which the secret can begin.
fn base64_forms(secret: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for engine in [BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD] {
        for before in 0..3 {
            let whole = [&[0; 2][..before], secret.as_bytes()].concat();
            let (from, to) = ((before * 8).div_ceil(6), whole.len() * 8 / 6);
            forms.push(engine.encode(whole)[from..to].to_owned());
        }
    }
    forms.sort_unstable();
    forms.dedup();
    forms.retain(|form| form.len() >= MIN_LENGTH);
    forms
}
