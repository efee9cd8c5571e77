//! Values that may be written in more than one way: a scalar, text or a block, one or many.
//!
//! They are read by hand instead of by `untagged`, so that a mistake inside is reported at its own
//! place.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value},
};
use serde_json::{Value, json};

use super::spec::{QueryBlockSpec, QuerySpec};

/// A value that may be a template: text, a number, a boolean or nothing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Text, perhaps with `{{ … }}` in it.
    Text(String),
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyScalar;

        impl Visitor<'_> for AnyScalar {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a number or true/false")
            }

            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar::Null)
            }

            fn visit_bool<E>(self, it: bool) -> Result<Scalar, E> {
                Ok(Scalar::Bool(it))
            }

            fn visit_i64<E>(self, it: i64) -> Result<Scalar, E> {
                Ok(Scalar::Int(it))
            }

            fn visit_u64<E>(self, it: u64) -> Result<Scalar, E> {
                Ok(i64::try_from(it).map_or_else(|_| Scalar::Text(it.to_string()), Scalar::Int))
            }

            fn visit_f64<E>(self, it: f64) -> Result<Scalar, E> {
                Ok(Scalar::Float(it))
            }

            fn visit_str<E>(self, it: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(it.to_owned()))
            }
        }

        deserializer.deserialize_any(AnyScalar)
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Text, a number or true/false; text may have `{{ … }}` in it.",
            "type": ["string", "number", "boolean", "null"],
        })
    }
}

/// Text alone, or a block that says more.
#[derive(Debug, Clone)]
pub(super) enum TextOr<T> {
    /// Text alone.
    Text(String),
    /// A block.
    Block(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = TextOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a block of keys")
            }

            fn visit_str<E>(self, it: &str) -> Result<TextOr<T>, E> {
                Ok(TextOr::Text(it.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextOr<T>, A::Error> {
                T::deserialize(value::MapAccessDeserializer::new(map)).map(TextOr::Block)
            }
        }

        deserializer.deserialize_any(Either(std::marker::PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for TextOr<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("TextOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let block = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "type": "string" }, block] })
    }
}

/// One of something, or a list of it.
#[derive(Debug, Clone)]
pub(super) struct OneOrMany<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value or a list")
            }

            fn visit_i64<E: de::Error>(self, it: i64) -> Result<OneOrMany<T>, E> {
                T::deserialize(value::I64Deserializer::new(it)).map(|it| OneOrMany(vec![it]))
            }

            fn visit_u64<E: de::Error>(self, it: u64) -> Result<OneOrMany<T>, E> {
                T::deserialize(value::U64Deserializer::new(it)).map(|it| OneOrMany(vec![it]))
            }

            fn visit_str<E: de::Error>(self, it: &str) -> Result<OneOrMany<T>, E> {
                T::deserialize(value::StrDeserializer::new(it)).map(|it| OneOrMany(vec![it]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<OneOrMany<T>, A::Error> {
                Vec::deserialize(value::SeqAccessDeserializer::new(seq)).map(OneOrMany)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
                T::deserialize(value::MapAccessDeserializer::new(map)).map(|it| OneOrMany(vec![it]))
            }
        }

        deserializer.deserialize_any(Either(std::marker::PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

impl<'de> Deserialize<'de> for QuerySpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyQuery;

        impl<'de> Visitor<'de> for AnyQuery {
            type Value = QuerySpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value, a list, `csv` or `json`")
            }

            fn visit_bool<E>(self, it: bool) -> Result<QuerySpec, E> {
                Ok(QuerySpec::One(Scalar::Bool(it)))
            }

            fn visit_i64<E>(self, it: i64) -> Result<QuerySpec, E> {
                Ok(QuerySpec::One(Scalar::Int(it)))
            }

            fn visit_u64<E: de::Error>(self, it: u64) -> Result<QuerySpec, E> {
                Scalar::deserialize(value::U64Deserializer::new(it)).map(QuerySpec::One)
            }

            fn visit_f64<E>(self, it: f64) -> Result<QuerySpec, E> {
                Ok(QuerySpec::One(Scalar::Float(it)))
            }

            fn visit_str<E>(self, it: &str) -> Result<QuerySpec, E> {
                Ok(QuerySpec::One(Scalar::Text(it.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<QuerySpec, A::Error> {
                Vec::deserialize(value::SeqAccessDeserializer::new(seq)).map(QuerySpec::Repeat)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<QuerySpec, A::Error> {
                QueryBlockSpec::deserialize(value::MapAccessDeserializer::new(map))
                    .map(QuerySpec::Block)
            }
        }

        deserializer.deserialize_any(AnyQuery)
    }
}

impl JsonSchema for QuerySpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Query".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let scalar = generator.subschema_for::<Scalar>();
        let block = generator.subschema_for::<QueryBlockSpec>();
        json_schema!({ "anyOf": [scalar, { "type": "array", "items": scalar }, block] })
    }
}

/// Lets a choice whose settings all have defaults be its name alone in the JSON Schema, as the
/// reader does: `type: date` is `type: { date: {} }`.
pub(super) fn allow_bare_choices(schema: &mut Value) {
    let Some(definitions) = schema.get("$defs").cloned() else { return };
    let needs_nothing = |settings: &Value| {
        let reference = settings["$ref"].as_str().and_then(|it| it.strip_prefix("#/$defs/"));
        let settings = reference.and_then(|it| definitions.get(it)).unwrap_or(settings);
        settings["type"] == "object" && settings.get("required").is_none()
    };
    for definition in schema["$defs"].as_object_mut().into_iter().flat_map(|it| it.values_mut()) {
        let Some(choices) = definition.get_mut("oneOf").and_then(Value::as_array_mut) else {
            continue;
        };
        let bare: Vec<Value> = choices
            .iter()
            .filter_map(|choice| {
                let (name, settings) = choice["properties"].as_object()?.iter().next()?;
                let bare = || {
                    let text = choice["description"].clone();
                    json!({ "type": "string", "const": name, "description": text })
                };
                needs_nothing(settings).then(bare)
            })
            .collect();
        choices.extend(bare);
    }
}
