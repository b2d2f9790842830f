//! Keywords of alerts: how they are compared with titles.
//!
//! Alerts are many and titles short, so a title is taken apart into everything that may be a
//! keyword, and each part is looked up in the index.

use std::collections::BTreeSet;

/// Characters in a keyword.
pub const KEYWORD_CHARS_MIN: usize = 2;
/// Characters in a keyword.
pub const KEYWORD_CHARS_MAX: usize = 20;

/// A text as keywords are compared: in lower case, with single blanks.
pub fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Every part of a title that may be a keyword, and the empty one for alerts of a whole category: at
/// most one for each place and length.
pub fn parts_of(title: &str) -> Vec<String> {
    let chars: Vec<char> = folded(title).chars().collect();
    let mut parts = BTreeSet::from([String::new()]);
    for start in 0..chars.len() {
        let longest = (chars.len() - start).min(KEYWORD_CHARS_MAX);
        for length in KEYWORD_CHARS_MIN..=longest {
            parts.insert(chars[start..start + length].iter().collect());
        }
    }
    parts.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_title_may_be_a_keyword() {
        let parts = parts_of("조선  백자 Jar");
        for keyword in ["", "백자", "조선 백자", "jar", "선 백"] {
            assert!(parts.contains(&keyword.to_owned()), "{keyword}");
        }
        assert!(!parts.contains(&"Jar".to_owned()) && !parts.contains(&"j".to_owned()));
    }

    #[test]
    fn the_longest_title_has_a_bounded_number_of_parts() {
        let title: String = (0..200).map(|n| char::from(b'a' + n % 26)).collect();
        assert!(parts_of(&title).len() <= 200 * KEYWORD_CHARS_MAX);
    }
}
