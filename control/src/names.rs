//! What Segue calls the objects that it makes, derived from the database's name.
//!
//! Does not look whether they exist.

use std::fmt::Write;

/// PostgreSQL's limit on the length of a name in bytes, less the longest suffix used here.
const STEM_BYTES_MAX: usize = 63 - "_foreign".len();

/// The names of one database's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The publication at the source.
    pub publication: String,
    /// The slot at the source.
    pub slot: String,
    /// The stream's row in `segue.progress`.
    pub stream: String,
    /// The publication at the target, through which foreign writes are found.
    pub target_publication: String,
    /// The slot at the target.
    pub target_slot: String,
    /// What the replication origins of the target sessions begin with; a number follows.
    pub origin_prefix: String,
}

/// The names for the database called `database`.
pub fn names(database: &str) -> Names {
    Names::of_stream(stem(database))
}

impl Names {
    /// The names that belong to a stream of `segue.progress`.
    pub fn of_stream(stem: String) -> Self {
        Self {
            target_publication: format!("{stem}_foreign"),
            target_slot: format!("{stem}_foreign"),
            origin_prefix: format!("{stem}_"),
            publication: stem.clone(),
            slot: stem.clone(),
            stream: stem,
        }
    }
}

/// `segue_<database>`, made fit for a slot: lower-case letters, digits and underscores only. A name
/// that had to be changed gets a fingerprint, so that two databases never share a slot.
fn stem(database: &str) -> String {
    let fits = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    let plain = format!("segue_{database}");
    if plain.bytes().all(|byte| fits(&byte)) && plain.len() <= STEM_BYTES_MAX {
        return plain;
    }
    let mut stem: String = plain
        .to_ascii_lowercase()
        .bytes()
        .map(|byte| if fits(&byte) { char::from(byte) } else { '_' })
        .take(STEM_BYTES_MAX - 9)
        .collect();
    let written = write!(stem, "_{:08x}", fingerprint(database));
    debug_assert!(written.is_ok(), "writing to a string does not fail");
    stem
}

/// FNV-1a: stable across versions and machines, which is all that is needed here.
fn fingerprint(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_is_used_as_it_is() {
        let names = names("shop_2");
        assert_eq!(names.slot, "segue_shop_2");
        assert_eq!(names.target_slot, "segue_shop_2_foreign");
        assert_eq!(names.origin_prefix, "segue_shop_2_");
    }

    #[test]
    fn names_that_need_a_change_stay_apart_and_fit() {
        let (upper, lower) = (names("My-Shop").slot, names("my-shop").slot);
        assert_ne!(upper, lower);
        assert!(upper.starts_with("segue_my_shop_"));
        let long = names(&"x".repeat(63));
        assert!(long.target_slot.len() <= 63);
    }
}
