//! The document's own words: CommonMark, in which HTML counts as text.

use maud::{Markup, PreEscaped, html as markup};
use pulldown_cmark::{Event, Options, Parser, html};

/// A description as paragraphs; the document is in English, whatever the page around it is in.
pub(super) fn markdown(text: &str) -> Markup {
    let events = Parser::new_ext(text, Options::ENABLE_TABLES).map(|event| {
        if let Event::Html(html) | Event::InlineHtml(html) = event {
            return Event::Text(html);
        }
        event
    });
    let mut written = String::new();
    html::push_html(&mut written, events);
    markup! { @if !written.is_empty() { div lang="en" { (PreEscaped(written)) } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_in_a_description_is_text() {
        let written = markdown("a <script>alert(1)</script> `b<c`\n\n<div>x</div>").into_string();
        assert!(!written.contains("<script") && !written.contains("<div>"), "{written}");
        assert!(written.contains("&lt;script&gt;") && written.contains("<code>b&lt;c</code>"));
    }
}
