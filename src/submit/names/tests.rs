use super::*;
use crate::processor::codec::Chain;

fn naming(steps: &str) -> Naming {
    Naming { suffix: Chain::parse(steps).unwrap().suffix(), ..Naming::default() }
}

fn clashes(naming: &Naming, names: &[&str]) -> Clashes {
    let folder = tempfile::tempdir().unwrap();
    let mut all = Names::new(naming.clone(), folder.path());
    names.iter().for_each(|name| all.note(name).unwrap());
    let mut culprits = all.shared().unwrap();
    let empty = culprits.is_empty();
    names.iter().for_each(|name| culprits.note(name, name));
    let clashes = culprits.clashes();
    assert_eq!(empty, clashes.count == 0 && clashes.twice.is_empty(), "{names:?}");
    clashes
}

/// The reported pairs of inputs, and how many outputs have two or more inputs.
fn told(naming: &Naming, names: &[&str]) -> (Vec<[String; 2]>, u64) {
    let clashes = clashes(naming, names);
    (clashes.told.into_iter().map(|clash| clash.inputs).collect(), clashes.count)
}

fn pair(one: &str, other: &str) -> Vec<[String; 2]> {
    vec![[one.to_owned(), other.to_owned()]]
}

#[test]
fn two_names_that_lose_different_endings_are_told_and_others_are_not() {
    let decompress = naming("decompress");
    assert_eq!(told(&decompress, &["a.csv", "a.csv.gz", "a.csv.zst", "b.gz"]), (pair("a.csv", "a.csv.gz"), 1));
    assert_eq!(told(&decompress, &["x.tar.gz", "x.tgz"]), (pair("x.tar.gz", "x.tgz"), 1));
    assert_eq!(told(&naming("decompress,zstd"), &["a.log.bz2", "a.log.gz"]), (pair("a.log.bz2", "a.log.gz"), 1));
    assert_eq!(told(&naming("decompress:gzip"), &["a.csv.gz", "a.csv.zst", "b", "b.bz2"]), (vec![], 0));
    assert_eq!(told(&decompress, &["d/a.gz", "e/a.gz", "a"]), (vec![], 0));
}

#[test]
fn more_clashes_than_are_told_are_counted() {
    let names: Vec<String> = (0..100).flat_map(|n| [format!("{n:03}.gz"), format!("{n:03}.xz")]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (told, count) = told(&naming("decompress"), &names);
    assert_eq!((told.len(), count), (TOLD, 100));
}

#[test]
fn in_a_directory_a_file_is_no_folder_and_in_s3_it_may_be() {
    let names = ["a", "a-b", "a/b", "a/c/d", "e/f"];
    assert_eq!(told(&Naming::default(), &names), (vec![], 0));
    let directory = Naming { in_directory: true, ..Naming::default() };
    assert_eq!(told(&directory, &names), (pair("a", "a/b"), 1));
    assert!(clashes(&directory, &names).told[0].is_folder);
    assert_eq!(told(&directory, &["a/c/d", "b", "a/c"]), (pair("a/c/d", "a/c"), 1), "in any order");
    assert_eq!(told(&directory, &["a/b", "a/c/d", "a/e", "b/c"]), (vec![], 0), "folders are shared");
    let stripped = Naming { in_directory: true, ..naming("decompress") };
    assert_eq!(told(&stripped, &["a.gz", "a/b"]), (pair("a.gz", "a/b"), 1));
}

#[test]
fn where_a_file_system_takes_two_names_for_one_they_clash() {
    let names = ["A.csv", "a.csv", "b/é", "B/e\u{301}", "c"];
    assert_eq!(told(&Naming::default(), &names), (vec![], 0));
    let folding = Naming { in_directory: true, folds: true, ..Naming::default() };
    let (inputs, count) = told(&folding, &names);
    assert_eq!((inputs[0].clone(), count), (["A.csv".to_owned(), "a.csv".to_owned()], 2));
}

#[test]
fn one_file_that_is_named_twice_is_no_clash() {
    let found = clashes(&Naming::default(), &["a", "b", "a"]);
    assert_eq!((found.count, found.twice.len()), (0, 1));
    let mut once = Once::new(Naming::default(), Some(found.twice));
    assert_eq!(
        [("a", "a"), ("b", "b"), ("b", "c"), ("a", "a")].map(|(name, at)| once.meet(name, at)),
        [Seen::New, Seen::New, Seen::New, Seen::Again]
    );
    let mut once = Once::new(naming("decompress"), None);
    assert_eq!(
        [("a.gz", "/a.gz"), ("b", "/b"), ("a.xz", "/a.xz")].map(|(name, at)| once.meet(name, at)),
        [Seen::New, Seen::New, Seen::Taken(1)]
    );
}

#[test]
fn names_that_only_get_an_ending_need_no_look_but_at_folders_with_that_ending() {
    for steps in ["copy", "gzip", "zstd,sha256", "zstd,decompress"] {
        let naming = Naming { in_directory: true, ..naming(steps) };
        assert!(!naming.can_meet(true), "{steps}");
        assert!(naming.can_meet(false), "objects of a bucket: {steps}");
        assert!(!Naming { in_directory: false, ..naming }.can_meet(false), "in S3: {steps}");
    }
    assert!(naming("decompress").can_meet(true));
    let zstd = Naming { in_directory: true, ..naming("zstd") };
    let stems = |name, before| zstd.folder_that_is_an_output(name, before).collect::<Vec<_>>();
    assert_eq!(stems("a.zst/b.zst/c", ""), ["a", "a.zst/b"]);
    assert_eq!(stems("a.zst/b.zst/c", "a.zst/b.zst/b"), [""; 0], "seen already");
    assert_eq!(stems("a/b.zst", ""), [""; 0]);
    assert_eq!(stems(".zst/b", ""), [""; 0], "the rest is no name");
}
