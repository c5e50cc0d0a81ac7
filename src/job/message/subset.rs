//! Keeps some of the elements of a list in a JSON text, and the rest of the text as it was written.
//!
//! The text is cut and joined, not parsed and written again: a record keeps the order of its fields, the digits of
//! its numbers and everything else that a parser would lose. The text was parsed before, so its nesting is bounded;
//! each byte is looked at twice at most.

use std::ops::Range;

use serde::de::IgnoredAny;

/// The JSON object `text` with only those elements of the list in its field `name` that are at `places`, which are in
/// order. `None` if there is no such list, or the list has no such position.
pub(super) fn of_list(text: &str, name: &str, places: &[usize]) -> Option<String> {
    let list = field(text, name)?;
    let elements = elements(text, list.start)?;
    let kept: Option<Vec<&str>> = places.iter().map(|place| Some(&text[elements.get(*place)?.clone()])).collect();
    Some(format!("{}[{}]{}", &text[..list.start], kept?.join(","), &text[list.end..]))
}

/// The range of the value of the first field with this name.
fn field(text: &str, name: &str) -> Option<Range<usize>> {
    let mut at = after(text, 0, '{')?;
    loop {
        let key = value(text, at)?;
        let found = serde_json::from_str::<String>(&text[key.clone()]).ok()? == name;
        let value = value(text, after(text, key.end, ':')?)?;
        if found {
            return Some(value);
        }
        at = after(text, value.end, ',')?;
    }
}

/// The ranges of the elements of the list that begins at `at`.
fn elements(text: &str, at: usize) -> Option<Vec<Range<usize>>> {
    let mut at = after(text, at, '[')?;
    let mut elements = Vec::new();
    loop {
        let element = value(text, at)?;
        let end = element.end;
        elements.push(element);
        match after(text, end, ',') {
            Some(next) => at = next,
            None => return after(text, end, ']').map(|_| elements),
        }
    }
}

/// The position after `mark`, which must be next at `at` except for white space.
fn after(text: &str, at: usize, mark: char) -> Option<usize> {
    let rest = text[at..].trim_start_matches([' ', '\t', '\n', '\r']);
    rest.strip_prefix(mark).map(|rest| text.len() - rest.len())
}

/// The range of the value that begins at `at`, without the white space before it.
fn value(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = text[at..].trim_start_matches([' ', '\t', '\n', '\r']);
    let start = text.len() - rest.len();
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some(start..start + values.byte_offset())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_kept_as_they_were_written_and_so_is_all_around_them() {
        let text = "\n{ \"a\" : [1,2], \"Rec\\u006frds\":\t[ {\"x\": \"],[\\\"\"} , 1.50e3,\"é\\\"\" ,null ] , \
            \"b\":{\"Records\":[0]}}\n";
        assert_eq!(
            of_list(text, "Records", &[0, 3]).unwrap(),
            "\n{ \"a\" : [1,2], \"Rec\\u006frds\":\t[{\"x\": \"],[\\\"\"},null] , \"b\":{\"Records\":[0]}}\n"
        );
        assert!(of_list(text, "Records", &[1]).unwrap().contains("[1.50e3]"));
        assert!(of_list(text, "Records", &[2]).unwrap().contains("[\"é\\\"\"]"));
        assert_eq!(of_list(text, "Records", &[4]), None);
        for none in ["", "[]", "{}", "{\"Records\":{}}", "{\"Records\":[]}", "{\"Records\":[1", "{\"Records\" 1}"] {
            assert_eq!(of_list(none, "Records", &[0]), None, "{none:?}");
        }
    }
}
