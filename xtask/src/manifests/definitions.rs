//! Validates Prometheus operator objects against deploy/kubernetes/definitions.
//!
//! The definitions have the form of a CustomResourceDefinition. Like the API server, the check compares types,
//! required fields and allowed values. It also rejects duplicate keys in a list of type `map`. Unlike the API server,
//! which prunes unknown fields, it rejects them.

use std::collections::HashSet;

use serde_json::Value;

/// Returns the problems of `objects`, each with its path. An object without a definition is also a problem.
pub(crate) fn problems(definitions: &[Value], objects: &[&Value]) -> Vec<String> {
    let mut problems = Vec::new();
    for object in objects {
        let name = format!("{} {}", text(object, "/kind"), text(object, "/metadata/name"));
        match schema_of(definitions, object) {
            Some(schema) => check(schema, object, &name, &mut problems),
            None => problems.push(format!("{name}: deploy/kubernetes/definitions has no such kind")),
        }
    }
    problems
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The schema for an object's kind and version.
fn schema_of<'a>(definitions: &'a [Value], object: &Value) -> Option<&'a Value> {
    let (group, version) = text(object, "/apiVersion").split_once('/')?;
    let definition = definitions.iter().find(|definition| {
        text(definition, "/spec/group") == group
            && text(definition, "/spec/names/kind") == text(object, "/kind")
    })?;
    let versions = definition.pointer("/spec/versions")?.as_array()?;
    let found = versions.iter().find(|known| text(known, "/name") == version)?;
    found.pointer("/schema/openAPIV3Schema")
}

fn check(schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match schema["type"].as_str() {
        _ if schema["x-kubernetes-int-or-string"] == true => vec!["integer", "string"],
        Some("number") => vec!["integer", "number"],
        Some(one) => vec![one],
        None => return,
    };
    if !allowed.contains(&kind) {
        problems.push(format!("{path}: the type is {kind}, not {}", allowed.join(" or ")));
        return;
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        problems.push(format!("{path}: {value} is not an allowed value"));
    }
    match value {
        Value::Object(fields) => {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !fields.contains_key(name) {
                    problems.push(format!("{path}: the field {name} is missing"));
                }
            }
            let keeps_unknown = schema["x-kubernetes-preserve-unknown-fields"] == true;
            for (name, field) in fields {
                let known = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
                match known {
                    Some(known) => check(known, field, &format!("{path}.{name}"), problems),
                    None if keeps_unknown => {}
                    None => problems.push(format!("{path}: unknown field {name}")),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check(&schema["items"], item, &format!("{path}[{index}]"), problems);
            }
            duplicates(schema, items, path, problems);
        }
        _ => {}
    }
}

/// Reports entries of a list of type `map` that have equal keys.
fn duplicates(schema: &Value, items: &[Value], path: &str, problems: &mut Vec<String>) {
    let Some(names) = schema["x-kubernetes-list-map-keys"].as_array() else { return };
    let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
    let mut seen = HashSet::new();
    for item in items {
        let key: Vec<String> = names.iter().map(|name| format!("{name}={}", item[name])).collect();
        let key = key.join(", ");
        if !seen.insert(key.clone()) {
            problems.push(format!("{path}: two entries have the key {key}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::problems;

    /// A definition of the kind `Rule`.
    fn definition() -> Value {
        json!({"spec": {
            "group": "example.org",
            "names": {"kind": "Rule"},
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {
                "type": "object",
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "spec": {"type": "object", "required": ["groups"], "properties": {
                        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                        "action": {"type": "string", "enum": ["keep", "drop"]},
                        "groups": {
                            "type": "array",
                            "x-kubernetes-list-map-keys": ["name"],
                            "items": {"type": "object", "properties": {
                                "name": {"type": "string"},
                                "expr": {"x-kubernetes-int-or-string": true}
                            }}
                        }
                    }}
                }
            }}}]
        }})
    }

    fn found(spec: &Value) -> Vec<String> {
        let object = json!({
            "apiVersion": "example.org/v1", "kind": "Rule", "metadata": {"name": "r", "any": 1}, "spec": spec
        });
        problems(&[definition()], &[&object])
    }

    #[test]
    fn an_object_as_defined_has_no_problem() {
        let groups = json!([{"name": "a", "expr": 1}, {"name": "b", "expr": "x"}]);
        let spec = json!({"groups": groups, "labels": {"any": "text"}, "action": "keep"});
        assert_eq!(found(&spec), [""; 0]);
    }

    #[test]
    fn list_keys_are_unique() {
        let spec = json!({"groups": [{"name": "a"}, {"name": "b"}, {"name": "a"}]});
        assert_eq!(found(&spec), ["Rule r.spec.groups: two entries have the key name=\"a\""]);
    }

    #[test]
    fn every_other_problem_has_its_path() {
        for (spec, expected) in [
            (json!({}), "Rule r.spec: the field groups is missing"),
            (json!({"groups": {}}), "Rule r.spec.groups: the type is object, not array"),
            (
                json!({"groups": [{"expr": true}]}),
                "Rule r.spec.groups[0].expr: the type is boolean, not integer or string",
            ),
            (json!({"groups": [], "more": 1}), "Rule r.spec: unknown field more"),
            (
                json!({"groups": [], "labels": {"a": 1}}),
                "Rule r.spec.labels.a: the type is integer, not string",
            ),
            (json!({"groups": [], "action": "hold"}), "Rule r.spec.action: \"hold\" is not an allowed value"),
        ] {
            assert_eq!(found(&spec), [expected]);
        }
        let unknown = json!({"apiVersion": "example.org/v2", "kind": "Rule", "metadata": {"name": "r"}});
        let expected = "Rule r: deploy/kubernetes/definitions has no such kind";
        assert_eq!(problems(&[definition()], &[&unknown]), [expected]);
    }
}
