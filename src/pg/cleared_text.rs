//! Remembers the last long text that was examined and has nothing to hide: each command of a script comes with the whole
//! script.

use std::cell::RefCell;
use std::ops::Range;

/// The lengths of texts that are remembered, in bytes.
const REMEMBERED: Range<usize> = 4096..16 << 20;

thread_local! {
    static CLEARED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// True if a text has nothing to hide, which `examine` finds out unless it has before in this transaction.
pub(super) fn is_clear(text: &[u8], examine: impl FnOnce(&[u8]) -> bool) -> bool {
    if !REMEMBERED.contains(&text.len()) {
        return examine(text);
    }
    CLEARED.with_borrow_mut(|cleared| {
        if cleared.as_slice() == text {
            return true;
        }
        let is_clear = examine(text);
        cleared.clear();
        // Without memory for it, the text is examined again.
        if is_clear && cleared.try_reserve_exact(text.len()).is_ok() {
            cleared.extend_from_slice(text);
        }
        is_clear
    })
}

/// Called at the end of a transaction.
pub(super) fn forget() {
    drop(CLEARED.take());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_examined_once_until_it_is_forgotten() {
        let long = vec![b'x'; REMEMBERED.start];
        assert!(is_clear(&long, |_| true));
        assert!(is_clear(&long, |_| panic!("it is remembered")));
        assert!(!is_clear(&long[1..], |_| false));
        assert!(is_clear(&long, |_| panic!("it is remembered")));
        let other = [&long[..], b"y"].concat();
        assert!(!is_clear(&other, |_| false) && !is_clear(&other, |_| false));
        assert!(!is_clear(&long, |_| false));
        assert!(is_clear(&long, |_| true));
        forget();
        assert!(!is_clear(&long, |_| false));
    }
}
