//! What a line of text may be made of.

/// Whether a text is one line on which every character is seen: without controls, and without the
/// marks that turn text around or take no room. A name made of those looks like nothing, or like
/// another one.
pub fn is_visible_line(text: &str) -> bool {
    !text.chars().any(is_unseen)
}

fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}' | '\u{200c}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{feff}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fffd}')
        // The fillers of Hangul; the joiner of emoji stays.
        || matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}')
}
