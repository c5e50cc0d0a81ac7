//! Which files and objects a submit finds, and which it leaves out.

use super::*;
use crate::services::store::local::LocalStore;

#[tokio::test]
async fn a_link_is_followed_as_far_as_it_stays_in_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("in/real")).unwrap();
    std::fs::create_dir_all(at("outside/deeper")).unwrap();
    for name in ["in/real/a", "outside/secret", "outside/deeper/secret"] {
        std::fs::write(at(name), "x").unwrap();
    }
    for (to, from) in [("real", "inner"), ("real/a", "b"), ("../outside", "tree"), ("../outside/secret", "file")] {
        std::os::unix::fs::symlink(to, at("in").join(from)).unwrap();
    }
    std::os::unix::fs::symlink("in", at("link")).unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalStore::new(vec![folder.path().into()]));
    for root in ["in", "link"] {
        for (exclude, leaving) in [(vec![], 2), (vec!["file".to_owned()], 1)] {
            let select = Select::new(&[], &exclude).unwrap();
            let found: Vec<_> = find(&Source::Directory(at(root)), select, &store).collect().await;
            let names: Vec<_> = found.iter().flatten().map(|found| found.name.as_str()).collect();
            assert_eq!(names, ["b", "inner/a", "real/a"]);
            let errors: Vec<_> = found.iter().filter_map(|found| found.as_ref().err()).collect();
            assert!(errors.iter().all(|error| error.to_string().ends_with("leaves the directory")), "{errors:?}");
            assert_eq!(errors.len(), leaving, "{errors:?}");
        }
    }
}

#[tokio::test]
async fn what_a_killed_writer_left_half_written_is_no_input() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("a/.batchpipe-0123.parts")).unwrap();
    for name in ["a/.batchpipe-0123", "a/.batchpipe-0123.parts/1", "a/b", "a/.batchpipes"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    let store: Arc<dyn ObjectStore> = Arc::new(LocalStore::new(vec![folder.path().into()]));
    let source = Source::Directory(folder.path().into());
    let found: Vec<_> = find(&source, Select::default(), &store).collect().await;
    let names: Vec<_> = found.into_iter().map(|found| found.unwrap().name).collect();
    assert_eq!(names, ["a/.batchpipes", "a/b"]);
}

async fn names_in(root: &Path, select: Select) -> Vec<String> {
    let store: Arc<dyn ObjectStore> = Arc::new(LocalStore::new(vec![root.into()]));
    let found: Vec<_> = find(&Source::Directory(root.into()), select, &store).collect().await;
    found.into_iter().map(|found| found.unwrap().name).collect()
}

#[tokio::test]
async fn names_that_are_kept_for_us_are_no_inputs_in_any_folder_and_in_any_case() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        ".batchpipe/queue.db",
        "a/.BatchPipe/queue.db",
        "a/b/.BATCHPIPE-x",
        "a/.batchpipe-notes",
        "a/.batchpipes",
        "b",
    ];
    for name in names {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    assert_eq!(names_in(folder.path(), Select::default()).await, ["a/.batchpipes", "b"]);
}

#[tokio::test]
async fn what_the_command_itself_writes_is_no_input_wherever_a_link_leads() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["in/a", "in/out/old", "in/deep/q.db", "in/deep/q.db-wal", "in/deep/b"] {
        std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
        std::fs::write(at(name), "x").unwrap();
    }
    std::os::unix::fs::symlink("in", at("link")).unwrap();
    std::os::unix::fs::symlink("out", at("in/results")).unwrap();
    let own = OwnPlaces::default().folder(at("link/out")).file(at("link/deep/q.db")).folder(at("link"));
    let found = names_in(&at("in"), Select::default().without(own)).await;
    assert_eq!(found, ["a", "deep/b"], "the source itself is never left out");
}
