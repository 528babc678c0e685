//! Choosing at random, by weight.

use fastrand::Rng;

/// One of the items; `weight` says how often each is chosen, compared to the others.
pub fn weighted<'a, T>(rng: &mut Rng, items: &'a [T], weight: impl Fn(&T) -> u32) -> &'a T {
    let mut left = rng.u32(0..items.iter().map(&weight).sum());
    for item in items {
        match left.checked_sub(weight(item)) {
            Some(rest) => left = rest,
            None => return item,
        }
    }
    unreachable!("the weights have been summed up")
}

/// One of the items, each as likely as the others.
pub fn any<T: Copy>(rng: &mut Rng, items: &[T]) -> Option<T> {
    rng.choice(items.iter().copied())
}
