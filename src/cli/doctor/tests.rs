//! What doctor says of a queue and its places.

use super::findings::Grade;
use super::*;
use crate::services::queue::local::LocalQueue;
use crate::services::store::local::LocalStore;

fn grades(findings: &[Finding]) -> Vec<(&'static str, Grade)> {
    findings.iter().map(|finding| (finding.check, finding.grade)).collect()
}

#[tokio::test]
async fn places_are_graded_by_what_can_be_done_there() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::new(vec![directory.path().into()]);
    let place = Location::file(format!("{}/", directory.path().display()));
    assert_eq!(check_read(&store, &place).await.grade, Grade::Warn, "empty");
    let mut findings = Vec::new();
    check_output(&store, &place, false, &mut findings).await;
    assert!(std::fs::read_dir(directory.path()).unwrap().next().is_none(), "nothing was written unasked");
    check_output(&store, &place, true, &mut findings).await;
    let (write, uploads) = ("write", "unfinished uploads");
    let expected = [(write, Grade::Warn), (uploads, Grade::Ok), (write, Grade::Ok), (uploads, Grade::Ok)];
    assert_eq!(grades(&findings), expected);
    assert_eq!(check_read(&store, &place).await.grade, Grade::Ok);
    let outside = Location::file("/elsewhere/");
    let mut findings = Vec::new();
    check_output(&store, &outside, true, &mut findings).await;
    assert_eq!(findings[0].grade, Grade::Fail);
    assert!(findings.iter().all(|finding| finding.grade == Grade::Ok || finding.fix.is_some()));
}

#[tokio::test]
async fn a_queue_that_rejects_too_early_or_forgets_too_soon_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let queue = LocalQueue::open(&directory.path().join("q.db")).unwrap();
    let graded = async |max_receives, retention: Option<u64>| {
        let retention = retention.map(Duration::from_secs);
        let policy = Policy { max_receives, retention, ..Policy::default() };
        let mut findings = Vec::new();
        check_dead_letters(&queue, &policy, &mut findings).await;
        grades(&findings).into_iter().map(|(_, grade)| grade).collect::<Vec<_>>()
    };
    assert_eq!(graded(Some(5), None).await, [Grade::Ok, Grade::Ok]);
    assert_eq!(graded(Some(2), None).await, [Grade::Warn, Grade::Ok]);
    assert_eq!(graded(None, Some(3600)).await, [Grade::Ok, Grade::Warn]);
}

#[test]
fn one_failure_makes_the_exit_code_of_a_failed_preflight() {
    let error = UserError::usage(Code::QueueMissing, "what", "cause", "help");
    assert_eq!(report(&[Finding::ok("a", "b")], true).unwrap(), Exit::Done);
    assert_eq!(report(&[Finding::warn("a", "b", "c")], true).unwrap(), Exit::Done);
    assert_eq!(report(&[Finding::ok("a", "b"), Finding::fail("c", &error)], true).unwrap(), Exit::Preflight);
}
