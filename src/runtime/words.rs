//! Words for sentences that several rooms use.

/// `1 job`, `12 jobs`: a number of things in a sentence; `one` is the word in the singular.
pub fn things(count: u64, one: &str) -> String {
    let ending = match one {
        _ if count == 1 => "",
        one if one.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{count} {one}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_not_called_things() {
        assert_eq!([0, 1, 2].map(|count| things(count, "job")), ["0 jobs", "1 job", "2 jobs"]);
        assert_eq!([1, 2].map(|count| things(count, "batch")), ["1 batch", "2 batches"]);
    }
}
