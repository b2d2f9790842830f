//! Whether a text is canonical JSON (RFC 8785), as far as the log needs it: it has no fractions.

use serde_json::Value;

/// The largest integer that every reader of JSON reads exactly.
const INTEGER_MAX: i64 = (1 << 53) - 1;

/// Whether the text is the one canonical way to write what it says. A number with a fraction or an
/// exponent never is, for the log writes none.
pub fn is_canonical(text: &str) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return false };
    let mut canonical = String::with_capacity(text.len());
    write(&value, &mut canonical).is_some() && canonical == text
}

fn write(value: &Value, out: &mut String) -> Option<()> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => {
            let integer = number.as_i64().filter(|n| (-INTEGER_MAX..=INTEGER_MAX).contains(n))?;
            out.push_str(&integer.to_string());
        }
        Value::String(text) => write_string(text, out)?,
        Value::Array(items) => write_list(items, ('[', ']'), out, write)?,
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            write_list(&sorted, ('{', '}'), out, |(name, value), out| {
                write_string(name, out)?;
                out.push(':');
                write(value, out)
            })?;
        }
    }
    Some(())
}

fn write_list<T>(
    items: &[T],
    (open, close): (char, char),
    out: &mut String,
    write: impl Fn(&T, &mut String) -> Option<()>,
) -> Option<()> {
    out.push(open);
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        write(item, out)?;
    }
    out.push(close);
    Some(())
}

/// serde_json escapes what RFC 8785 escapes, and in the same way (section 3.2.2.2).
fn write_string(text: &str, out: &mut String) -> Option<()> {
    out.push_str(&serde_json::to_string(text).ok()?);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_notation_alone_is_canonical() {
        for text in [
            "null",
            r#"{"a":1,"b":[true,"\n\u001f\"\\/é"],"c":{}}"#,
            "[-9007199254740991,0]",
            "{\"\u{1F600}\":1,\"\u{FF61}\":2}",
        ] {
            assert!(is_canonical(text), "{text}");
        }
        for text in [
            r#"{"b":1,"a":1}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a": 1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1e2}"#,
            "[-0]",
            "[9007199254740992]",
            r#"["\/"]"#,
            r#"["\u0041"]"#,
            r#"["\u001F"]"#,
            "{\"\u{FF61}\":2,\"\u{1F600}\":1}",
            "{",
        ] {
            assert!(!is_canonical(text), "{text}");
        }
    }

    #[test]
    fn serde_jcs_says_the_same() {
        let value = serde_json::json!({"\u{FF61}": [1, "\u{7f}\u{2028}\u{8}"], "\u{1F600}": null});
        assert!(is_canonical(&serde_jcs::to_string(&value).expect("canonical")));
    }
}
