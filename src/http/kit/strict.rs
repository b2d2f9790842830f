//! JSON that is read to the letter: a field stands once, and what is to be an object is one.
//!
//! Serde lets an array stand for a struct, its fields by position, at every level, and a map takes
//! the last of two equal keys, and an enum may be an object whose one key is the word. None of it is in
//! the API document, and all of it lets a request mean something
//! that no client ever meant. A type that is tagged or flattened (`#[serde(tag)]`, `untagged`,
//! `flatten`) would hide its structs from this: requests have none.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{
        Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::{Error, Number};

/// What was read, before it is made into anything.
#[derive(Debug, Clone)]
pub enum Node {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Any number.
    Number(Number),
    /// Text.
    Text(String),
    /// In its order.
    Array(Vec<Node>),
    /// In its order, each key once.
    Object(Vec<(String, Node)>),
}

impl Node {
    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Node::Null => Unexpected::Unit,
            Node::Bool(value) => Unexpected::Bool(*value),
            Node::Number(_) => Unexpected::Other("number"),
            Node::Text(text) => Unexpected::Str(text),
            Node::Array(_) => Unexpected::Seq,
            Node::Object(_) => Unexpected::Map,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value);
        number.map(Node::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Node::Array(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut fields: Vec<(String, Node)> = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            fields.push(entry);
        }
        let mut keys: Vec<&str> = fields.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(A::Error::custom(format!("duplicate field `{}`", twice[0])));
        }
        Ok(Node::Object(fields))
    }
}

impl<'de> IntoDeserializer<'de, Error> for Node {
    type Deserializer = Node;

    fn into_deserializer(self) -> Node {
        self
    }
}

impl<'de> Deserializer<'de> for Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(value),
            Node::Number(number) => number.deserialize_any(visitor),
            Node::Text(text) => visitor.visit_string(text),
            Node::Array(nodes) => {
                let mut items = SeqDeserializer::new(nodes.into_iter());
                let value = visitor.visit_seq(&mut items)?;
                items.end().map(|()| value)
            }
            Node::Object(fields) => {
                let mut entries = MapDeserializer::new(fields.into_iter());
                let value = visitor.visit_map(&mut entries)?;
                entries.end().map(|()| value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_none(),
            some @ (Node::Bool(_)
            | Node::Number(_)
            | Node::Text(_)
            | Node::Array(_)
            | Node::Object(_)) => visitor.visit_some(some),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            object @ Node::Object(_) => object.deserialize_any(visitor),
            other @ (Node::Null
            | Node::Bool(_)
            | Node::Number(_)
            | Node::Text(_)
            | Node::Array(_)) => Err(Error::invalid_type(other.unexpected(), &"an object")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Node::Text(word) => visitor.visit_enum(word.into_deserializer()),
            other @ (Node::Null
            | Node::Bool(_)
            | Node::Number(_)
            | Node::Array(_)
            | Node::Object(_)) => Err(Error::invalid_type(other.unexpected(), &"a word")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(default)]
        inner: Option<Inner>,
        #[serde(default)]
        list: Vec<Inner>,
        #[serde(default)]
        words: BTreeMap<String, String>,
        #[serde(default)]
        kind: Kind,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        number: i64,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        #[default]
        One,
        Two,
    }

    fn read(text: &str) -> Result<Outer, String> {
        let node: Node = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Outer::deserialize(node).map_err(|error| error.to_string())
    }

    #[test]
    fn objects_are_read_as_they_are() {
        let text = r#"{"inner": {"number": -3}, "list": [{"number": 9007199254740993}],
            "words": {"a": "b"}, "kind": "two"}"#;
        let read = read(text).expect("read");
        assert_eq!(read.inner, Some(Inner { number: -3 }));
        assert_eq!(read.list, [Inner { number: 9_007_199_254_740_993 }]);
        assert_eq!(read.words["a"], "b");
        assert_eq!(read.kind, Kind::Two);
    }

    #[test]
    fn an_array_is_no_object_at_any_level() {
        for text in [
            "[]",
            "[{\"number\": 1}]",
            "null",
            "1",
            "\"x\"",
            r#"{"inner": [1]}"#,
            r#"{"inner": 1}"#,
            r#"{"list": [[1]]}"#,
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains("expected an object"), "{text}: {error}");
        }
        assert!(read(r#"{"words": []}"#).is_err());
        assert!(read(r#"{"kind": ["two"]}"#).is_err());
    }

    #[test]
    fn a_word_is_text_alone() {
        assert_eq!(read(r#"{"kind": "two"}"#).expect("a word").kind, Kind::Two);
        for text in [r#"{"kind": {"two": null}}"#, r#"{"kind": {}}"#, r#"{"kind": 1}"#] {
            let error = read(text).expect_err(text);
            assert!(error.contains("expected a word"), "{text}: {error}");
        }
    }

    #[test]
    fn a_key_stands_once_at_any_level() {
        for text in [
            r#"{"kind": "one", "kind": "two"}"#,
            r#"{"inner": {"number": 1, "number": 1}}"#,
            r#"{"words": {"a": "b", "c": "d", "a": "b"}}"#,
            r#"{"words": {"a": "b", "\u0061": "b"}}"#,
        ] {
            assert!(read(text).expect_err(text).contains("duplicate field"), "{text}");
        }
    }
}
