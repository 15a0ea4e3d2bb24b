//! Two JSON documents that must say the same, and where they do not.

use serde_json::Value;

/// Fails with the innermost place where two documents differ.
pub(crate) fn same(direct: &Value, through: &Value) {
    let mut differences = differences(direct, through);
    let count = differences.len();
    differences.truncate(10);
    assert!(differences.is_empty(), "{count} differences, the first of them:\n{}", differences.join("\n"));
}

/// The places at which two documents differ.
pub(crate) fn differences(direct: &Value, through: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    compare(direct, through, String::new(), &mut differences);
    differences
}

fn compare(direct: &Value, through: &Value, place: String, differences: &mut Vec<String>) {
    match (direct, through) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                let title = a.get("page").or_else(|| a.get("step")).and_then(Value::as_str);
                let title = title.map_or_else(|| index.to_string(), str::to_owned);
                compare(a, b, format!("{place} > {title}"), differences);
            }
        }
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            for (key, a) in a {
                compare(a, &b[key], format!("{place} > {key}"), differences);
            }
        }
        (a, b) if a == b => {}
        (a, b) => differences.push(format!("{place}\n    direct:  {a}\n    through: {b}")),
    }
}

#[test]
fn a_difference_is_found_and_named() {
    let direct = serde_json::json!([{"page": "one", "steps": [{"step": "a", "result": [1, 2]}]}]);
    let mut through = direct.clone();
    same(&direct, &through);
    through[0]["steps"][0]["result"][1] = 3.into();
    let mut differences = Vec::new();
    compare(&direct, &through, String::new(), &mut differences);
    assert_eq!(differences, [" > one > steps > a > result > 1\n    direct:  2\n    through: 3"]);
}
