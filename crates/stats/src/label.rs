//! Names in shared memory.

use std::sync::atomic::{AtomicU8, AtomicU16, Ordering::Relaxed};

/// The number of bytes that are kept of a name.
pub const LONGEST: usize = 160;

/// The beginning of a name. It is set and read under the lock of the table.
pub struct Label {
    length: AtomicU16,
    bytes: [AtomicU8; LONGEST],
}

impl Label {
    #[cfg(test)]
    pub const fn empty() -> Label {
        Label { length: AtomicU16::new(0), bytes: [const { AtomicU8::new(0) }; LONGEST] }
    }

    pub fn set(&self, text: &str) {
        let end = text.floor_char_boundary(LONGEST);
        self.bytes
            .iter()
            .zip(text.as_bytes()[..end].iter())
            .for_each(|(place, byte)| place.store(*byte, Relaxed));
        self.length.store(end as u16, Relaxed);
    }

    pub fn text(&self) -> String {
        let length = usize::from(self.length.load(Relaxed)).min(LONGEST);
        let bytes: Vec<u8> = self.bytes[..length].iter().map(|byte| byte.load(Relaxed)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// True for the label of this name.
    pub fn is_of(&self, text: &str) -> bool {
        let end = text.floor_char_boundary(LONGEST);
        usize::from(self.length.load(Relaxed)) == end
            && self
                .bytes
                .iter()
                .zip(text.as_bytes()[..end].iter())
                .all(|(place, byte)| place.load(Relaxed) == *byte)
    }
}
