//! What must be so at the end, worked out from the plan alone.

use std::collections::BTreeMap;

use batchpipe::error::Code;
use batchpipe::services::queue::Outgoing;
use batchpipe::stages::IfExists;
use batchpipe::stages::acknowledge::dead_letter;
use batchpipe::testing::Rig;

use super::plan::{Object, Pinned, Plan, Planned, What};
use super::script::{Trouble, reason};
use super::world::Outcome;

/// Reads of one worker that pay for one that is asked again.
const PRICE: usize = 20;

/// What one object may end as.
struct Verdict {
    /// The bytes that its output may have. None: there must be no output but what was there before.
    outputs: Vec<Vec<u8>>,
    /// The code and the reason with which its message must go to the dead letters.
    rejected: Option<(&'static str, Option<String>)>,
}

/// Judges one object, if nothing but its own nature stood in its way.
fn judge(plan: &Plan, object: &Object) -> Verdict {
    if object.before.is_some() && plan.if_exists == IfExists::Fail {
        // Nothing else of the object is looked at.
        return Verdict { outputs: Vec::new(), rejected: Some(("BP307", None)) };
    }
    let rejected = match (&object.behaviour.trouble, object.pinned) {
        _ if object.contents.is_empty() => Some(("BP301", None)),
        (_, Some(Pinned::Size | Pinned::Etag)) => Some(("BP302", None)),
        (Trouble::Reject(Code::ProcessorFailed), _) => Some(("BP400", Some(reason(&object.name)))),
        (Trouble::Reject(Code::DataDamaged), _) => Some(("BP303", Some(reason(&object.name)))),
        _ => None,
    };
    let made = |input: &Vec<u8>| object.behaviour.output(input, plan.part as usize);
    let outputs = if rejected.is_some() { Vec::new() } else { object.contents.iter().map(made).collect() };
    Verdict { outputs, rejected }
}

/// Checks the outcome of a plan.
///
/// # Panics
///
/// If anything is other than it must be.
pub(super) fn check(plan: &Plan, outcome: &Outcome) {
    assert_eq!(outcome.left, 0, "messages left in the queue");
    assert_eq!(outcome.forgotten, 0, "uploads that a living worker neither completed nor aborted");
    let open = outcome.store.uploads();
    assert!(open <= outcome.explained, "{open} uploads are open, {} of them for a reason", outcome.explained);
    assert_eq!(outcome.extended_after_delete, 0, "leases extended after their message's delete was sent");

    for reads in &outcome.reads {
        assert!(reads.again * PRICE <= reads.first, "too many reads were asked again: {reads:?}");
        assert_eq!(reads.beside_another, 0, "a body is read while the same is still asked for: {reads:?}");
    }

    let mut letters: BTreeMap<&str, Vec<&Outgoing>> = BTreeMap::new();
    for letter in &outcome.letters {
        letters.entry(letter.attributes["batchpipe-message-id"].as_str()).or_default().push(letter);
    }
    let mut places = 0;
    for (planned, id) in plan.messages.iter().zip(&outcome.ids) {
        check_message(plan, outcome, planned, id, &letters.remove(id.as_str()).unwrap_or_default());
        places += planned.objects().filter(|object| outcome.store.size(&Rig::output(&object.name)).is_some()).count();
        places += planned.objects().filter(|object| !object.contents.is_empty()).count();
    }
    assert!(letters.is_empty(), "letters of nobody: {letters:?}");
    assert_eq!(outcome.store.locations().len(), places, "inputs and outputs, and nothing else");
}

fn check_message(plan: &Plan, outcome: &Outcome, planned: &Planned, id: &str, letters: &[&Outgoing]) {
    let verdicts: Vec<(&Object, Verdict)> = planned.objects().map(|object| (object, judge(plan, object))).collect();
    // A letter tells of the first of its records that can't be done, and of the others behind that.
    let rejected = match planned.what {
        What::Nonsense(_) => Some(("BP2", None)),
        _ => verdicts.iter().find_map(|(_, verdict)| verdict.rejected.clone()),
    };
    for letter in letters {
        let (code, attempt) =
            (&letter.attributes[dead_letter::CODE], letter.attributes[dead_letter::ATTEMPT].parse::<u32>());
        let exhausted = plan.max_receives.is_some_and(|most| attempt.is_ok_and(|attempt| attempt >= most));
        // Done, and not recognised as this job's work when it came again: by then the input was another.
        let replaced = verdicts.iter().any(|(object, _)| object.replaced.is_some());
        let done = plan.if_exists == IfExists::Fail && code == "BP307" && replaced;
        let own = rejected.as_ref().is_some_and(|(own, reason)| {
            let told = reason.as_ref().is_none_or(|reason| {
                let rest = letter.attributes[dead_letter::REASON].strip_prefix(reason.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("; "))
            });
            code.starts_with(own) && told
        });
        assert!(own || exhausted || done, "{id} is in the dead letters without a right to: {letter:?}");
        for (object, verdict) in &verdicts {
            let right = verdict.rejected.is_some() || exhausted || done;
            assert!(right || !holds(letter, object), "{} is in a letter without a right to: {letter:?}", object.name);
        }
    }
    if rejected.is_some() {
        assert!(!letters.is_empty(), "{id} must be in the dead letters: {planned:?}");
    }
    for (object, verdict) in &verdicts {
        let output = outcome.store.contents(&Rig::output(&object.name));
        let moved = letters.iter().any(|letter| holds(letter, object));
        match &output {
            Some(output) => {
                let before = object.before.as_ref().is_some_and(|before| before[..] == output[..]);
                let whole = verdict.outputs.iter().any(|may| may[..] == output[..]) || (before && moved);
                assert!(whole, "the output of {} is wrong: {} bytes", object.name, output.len());
            }
            None => assert!(moved || verdict.outputs.is_empty(), "the output of {} is missing", object.name),
        }
        assert!(moved || verdict.rejected.is_none(), "{} must be in a dead letter", object.name);
        assert!(letters.is_empty() || verdict.rejected.is_none() || output.is_none() || object.before.is_some());
    }
}

/// Whether a letter asks for this object again.
fn holds(letter: &Outgoing, object: &Object) -> bool {
    letter.body.contains(&format!("\"key\":\"{}\"", object.name))
        || letter.body.contains(&format!("\"input\":\"{}\"", Rig::input(&object.name)))
}
