//! What the limits come to.

use super::*;
use crate::error::Code;

#[test]
fn defaults_follow_the_machine() {
    let on = |cores, memory| run(&[], &[], &[], &Machine { cores, memory, ..machine() }).unwrap();
    let small = on(1, 512 << 20);
    assert_eq!((small.working.concurrency.get(), small.working.processors.get()), (16, 2));
    assert_eq!((small.working.memory, small.working.most.get()), (128 << 20, 1000));
    let large = on(64, 256 << 30);
    assert_eq!((large.working.concurrency.get(), large.working.processors.get()), (256, 80));
    assert_eq!((large.working.memory, large.receivers), (64 << 30, None));
    assert_eq!((large.working.part_size, large.working.visibility), (8 << 20, secs(60)));
    // A quarter of a tiny machine holds no job; one job's two parts are the least that works.
    assert_eq!(on(1, 32 << 20).working.memory, 18 << 20);
    let auto = run(&[("concurrency", "auto")], &[], &[], &machine()).unwrap();
    assert_eq!(auto.working.concurrency.get(), 16);
    assert!(auto.working.most.get() > 16);
    let fixed = run(&[("concurrency", "16")], &[], &[], &machine()).unwrap();
    assert_eq!(fixed.working.most.get(), 16, "a number is obeyed exactly");
}

#[test]
fn memory_holds_at_least_one_job_and_at_most_the_machine() {
    let memory = |text| run(&[("memory", text)], &[], &[], &machine()).map(|config| config.working.memory);
    assert_eq!(memory("18MiB").unwrap(), 18 << 20);
    assert_eq!(memory("50%").unwrap(), 512 << 20);
    for text in ["17.9MiB", "1K", "1%", "2GiB"] {
        assert_eq!(memory(text).unwrap_err().code, Code::Memory, "{text}");
    }
    for text in ["100%", "0%", "0.5", "%", "-1%", "1.5%"] {
        assert_eq!(memory(text).unwrap_err().code, Code::CommandLine, "{text}");
    }
    let error = memory("1MiB").unwrap_err();
    assert_eq!(error.cause, "1MiB is less than one job needs: two parts of 8MiB and 2MiB");
    assert!(error.help.contains("--memory 18MiB "), "{error}");
}

#[test]
fn parts_obey_the_store_they_are_known_to_go_to() {
    let part = |size, output| run(&[("part-size", size), ("output", output)], &[], &[], &machine());
    assert_eq!(part("64KiB", "./out").unwrap().working.part_size, 64 << 10);
    assert_eq!(part("5MiB", "s3://out/").unwrap().working.part_size, 5 << 20);
    for (size, output) in [("1MiB", "s3://out/"), ("5MB", "s3://out/"), ("63KiB", "./out"), ("6GiB", "./out")] {
        assert!(part(size, output).unwrap_err().what.starts_with("--part-size can't be"), "{size} {output}");
    }
}

#[test]
fn jobs_in_flight_fit_the_open_files() {
    let on = |flags: &[_], open_files| run(flags, &[], &[], &Machine { open_files, ..machine() });
    let many = [("concurrency", "1000")];
    let roomy = on(&many, 65_536).unwrap();
    assert_eq!((roomy.working.concurrency.get(), roomy.working.parallel.get()), (1000, 8));
    let tight = on(&many, 4096).unwrap();
    assert_eq!((tight.working.concurrency.get(), tight.working.parallel.get()), (1000, 2));
    assert_eq!(tight.global.notes.len(), 1);
    let error = on(&many, 1024).unwrap_err();
    assert_eq!(error.code, Code::SystemLimit);
    assert!(error.help.contains("ulimit -n 2505") && error.help.contains("--concurrency 408"), "{error}");
    assert_eq!(on(&[], 10).unwrap().working.concurrency.get(), 4);
    assert_eq!(on(&[], 1).unwrap_err().code, Code::SystemLimit);
    for (concurrency, open_files) in [("1", 3u64), ("7", 100), ("16", 64), ("500", 1500), ("10000", 65_536)] {
        if let Ok(config) = on(&[("concurrency", concurrency)], open_files) {
            let needs = config.working.concurrency.get() * (1 + config.working.parallel.get());
            assert!(needs as u64 <= open_files * 4 / 5, "{concurrency} jobs in {open_files} files");
        }
    }
}

#[test]
fn steps_have_their_memory_beside_the_objects() {
    let with = |settings: &[(&str, &str)], memory| run(settings, &[], &[], &Machine { memory, ..machine() });
    let dear = with(&[("process", "zstd:22"), ("memory", "256MiB")], 8 << 30).unwrap_err();
    assert_eq!((dear.code, dear.what.as_str()), (Code::Memory, "--memory 256MiB is too little for zstd:22"));
    let least = dear.help.split_whitespace().nth(4).unwrap().to_owned();
    let enough = with(&[("process", "zstd:22"), ("memory", &least)], 8 << 30).unwrap();
    assert_eq!(enough.working.processors.get(), 1);
    // The default is raised to what one needs, where the machine has that.
    let small = with(&[("process", "zstd:22")], 1 << 30).unwrap();
    assert!(small.working.memory > 256 << 20 && small.working.processors.get() == 1);
    assert!(small.global.notes.iter().any(|note| note.contains("1 at once, not 3")), "{:?}", small.global.notes);
    assert_eq!(with(&[("process", "zstd:22")], 512 << 20).unwrap_err().code, Code::Memory);
    let narrow = with(&[("process", "decompress"), ("memory", "64MiB")], 8 << 30).unwrap();
    assert!(narrow.working.decoder_bytes < 16 << 20 && narrow.working.processors.get() == 3);
    assert!(
        narrow.global.notes.iter().any(|note| note.contains("a decompressing step may take 10")),
        "{:?}",
        narrow.global.notes
    );
    let plenty = with(&[("process", "decompress"), ("memory", "1GiB")], 8 << 30).unwrap();
    assert_eq!((plenty.working.decoder_bytes, plenty.global.notes.len()), (129 << 20, 0));
}
