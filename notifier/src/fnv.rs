//! A hash that is the same in each version of ours.

/// FNV-1a, 64 bits, of parts in this order: std's hasher may differ from one compiler to the next, and so from a try
/// before an upgrade to one after it.
#[must_use]
pub fn fnv1a(parts: &[&[u8]]) -> u64 {
    // A byte that is in no part of UTF-8 stands between the parts.
    let bytes = parts.iter().flat_map(|part| part.iter().chain(&[0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
