//! The program on S3 and SQS, as a user runs it: `submit`, `run`, `map`, `gc` and `dlq` against a server on the
//! loopback.
//!
//! Needs the lab servers: `cargo test --test servers -- --ignored` installs and starts them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::lab::Server;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sqs::types::QueueAttributeName;
use batchpipe::job::Location;
use batchpipe::services::aws::Aws;
use batchpipe::services::store::s3::S3Store;
use batchpipe::services::store::{ObjectStore, Writing};
use bytes::Bytes;
use futures::TryStreamExt;
use tempfile::TempDir;

const MIB: usize = 1024 * 1024;

/// A server, a bucket, a queue with dead letters, and a folder of files.
struct World {
    server: std::sync::Arc<Server>,
    aws: Aws,
    folder: TempDir,
    bucket: String,
    queue: String,
}

async fn world() -> World {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let server = Server::shared();
    let credentials = Credentials::new("test", "test", None, None, "tests");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(server.url())
        .build();
    let aws = Aws::from_config(config).unwrap();
    let name = format!("flow-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    aws.s3().create_bucket().bucket(&name).send().await.unwrap();
    let sqs = aws.sqs("us-east-1", None);
    let dead = sqs.create_queue().queue_name(format!("{name}-dlq")).send().await.unwrap().queue_url.unwrap();
    let arn = sqs.get_queue_attributes().queue_url(dead).attribute_names(QueueAttributeName::QueueArn).send().await;
    let arn = arn.unwrap().attributes.unwrap()[&QueueAttributeName::QueueArn].clone();
    let redrive = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":4}}"#);
    let create = sqs.create_queue().queue_name(&name).attributes(QueueAttributeName::RedrivePolicy, redrive);
    create.send().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("in/däper er")).unwrap();
    World { server, aws, folder, bucket: name.clone(), queue: name }
}

impl World {
    fn file(&self, name: &str, content: &[u8]) {
        fs::write(self.folder.path().join("in").join(name), content).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_batchpipe"));
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null()).env_clear();
        command.env("HOME", self.folder.path()).env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_REGION", "us-east-1");
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_ENDPOINT_URL", self.server.url());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn uri(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    fn store(&self) -> S3Store {
        S3Store::new(&self.aws)
    }

    async fn object(&self, key: &str) -> Vec<u8> {
        let at = Location::s3(&self.bucket, key);
        let reading = self.store().get(&at, 0..u64::MAX, &Default::default()).await.unwrap();
        reading.body.try_collect::<Vec<Bytes>>().await.unwrap().concat()
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        let store = self.store();
        let listed = store.list(&Location::s3(&self.bucket, prefix));
        listed.map_ok(|object| object.location.key().to_owned()).try_collect().await.unwrap()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 7 % 251) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn files_go_up_are_worked_on_and_come_out_under_every_kind_of_name() {
    let world = world().await;
    let files = [("empty", 0), ("a b+c%20d.txt", 100), ("däper er/ü🙂.csv", 5000), ("large", 20 * MIB + 3)];
    files.iter().for_each(|(name, size)| world.file(name, &bytes(*size)));
    let (input, output) = (world.uri("in/"), world.uri("out/"));
    let submit = ["submit", "in", "--input", &input, "--output", &output, "--queue", &world.queue];
    let submitted = world.run(&submit);
    assert!(submitted.status.success() && text(&submitted).contains("Sent 4 jobs"), "{}", text(&submitted));
    let run = ["run", "--queue", &world.queue, "--until-empty", "--metrics-addr", "none", "--process", "zstd"];
    let worked = world.run(&run);
    assert!(worked.status.success() && text(&worked).contains("done=4 failed=0"), "{}", text(&worked));
    for (name, size) in files {
        let compressed = world.object(&format!("out/{name}.zst")).await;
        assert_eq!(zstd::decode_all(&compressed[..]).unwrap(), bytes(size), "{name}");
    }
    let repeat = world.run(&submit);
    assert!(text(&repeat).contains("Nothing new: 4 jobs, all sent by an earlier run"), "{}", text(&repeat));
    let status = world.run(&["status", "--queue", &world.queue]);
    assert!(text(&status).contains("0 waiting"), "{}", text(&status));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_huge_object_goes_through_a_program_in_little_memory_and_no_disk() {
    let world = world().await;
    let size = 256 * MIB;
    world.file("huge", &bytes(size));
    let (input, output) = (world.uri("in/"), world.uri("out/"));
    let submitted = world.run(&["submit", "in", "--input", &input, "--output", &output, "--queue", &world.queue]);
    assert!(submitted.status.success(), "{}", text(&submitted));
    fs::remove_file(world.folder.path().join("in/huge")).unwrap();
    let work = world.folder.path().join("nothing-may-be-written-here").display().to_string();
    let script = "cat; grep VmHWM /proc/$PPID/status > peak";
    let run = [
        "run",
        "--queue",
        &world.queue,
        "--until-empty",
        "--metrics-addr",
        "none",
        "--memory",
        "32MiB",
        "--work-dir",
        &work,
        "--",
        "sh",
        "-c",
        script,
    ];
    let worked = world.run(&run);
    assert!(worked.status.success() && text(&worked).contains("done=1"), "{}", text(&worked));
    assert!(world.object("out/huge").await == bytes(size), "the same bytes");
    assert!(!Path::new(&work).exists());
    let peak = fs::read_to_string(world.folder.path().join("peak")).unwrap();
    let kib: usize = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < (32 + 64) * 1024, "peak of {kib} KiB with --memory 32MiB");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn map_works_from_bucket_to_bucket_and_a_second_time_does_nothing() {
    let world = world().await;
    let store = world.store();
    for number in 0..15 {
        let at = Location::s3(&world.bucket, format!("raw/{number}.txt"));
        store.put(&at, bytes(number * 100).into(), &Writing::default()).await.unwrap();
    }
    let (from, to) = (world.uri("raw/"), world.uri("done/"));
    let mapped = world.run(&["map", &from, &to, "--process", "copy"]);
    assert!(mapped.status.success() && text(&mapped).contains("done=15"), "{}", text(&mapped));
    assert_eq!(world.keys("done/").await.len(), 15);
    assert_eq!(world.object("done/9.txt").await, bytes(900));
    let again = world.run(&["map", &from, &to, "--process", "copy"]);
    assert!(text(&again).contains("All 15 were done before"), "{}", text(&again));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_batch_sent_again_redoes_only_what_is_missing_or_has_changed() {
    let world = world().await;
    for (name, size) in [("same", 1000), ("large", 17 * MIB), ("changed", 10), ("gone", 10), ("spoilt", 10)] {
        world.file(name, &bytes(size));
    }
    let (input, output) = (world.uri("in/"), world.uri("out/"));
    let submit = ["submit", "in", "--input", &input, "--output", &output, "--queue", &world.queue, "--journal", "none"];
    let run = ["run", "--queue", &world.queue, "--until-empty", "--metrics-addr", "none", "--if-exists", "skip"];
    let work = |process: &str| {
        let submitted = world.run(&submit);
        assert!(submitted.status.success(), "{}", text(&submitted));
        let worked = world.run(&[&run[..], &["--process", process]].concat());
        assert!(worked.status.success(), "{}", text(&worked));
        text(&worked)
    };
    let first = work("zstd");
    assert!(first.contains("done=5 failed=0"), "{first}");
    let marks = |key: &'static str| {
        let (store, at) = (world.store(), Location::s3(&world.bucket, key));
        async move { store.head(&at).await.unwrap().unwrap() }
    };
    let (same, large) = (marks("out/same.zst").await, marks("out/large.zst").await);
    assert_eq!(large.metadata["batchpipe-processor"], "zstd:3");
    assert_ne!(large.metadata["batchpipe-source"], same.metadata["batchpipe-source"]);

    world.file("changed", &bytes(11));
    let (store, at) = (world.store(), |name: &str| Location::s3(&world.bucket, name));
    world.aws.s3().delete_object().bucket(&world.bucket).key("out/gone.zst").send().await.unwrap();
    store.put(&at("out/spoilt.zst"), Bytes::from_static(b"of another tool"), &Writing::default()).await.unwrap();
    let second = work("zstd");
    assert!(second.contains("done=3 failed=0"), "{second}");
    for (name, size) in [("same", 1000), ("large", 17 * MIB), ("changed", 11), ("gone", 10), ("spoilt", 10)] {
        let compressed = world.object(&format!("out/{name}.zst")).await;
        assert!(zstd::decode_all(&compressed[..]).unwrap() == bytes(size), "{name}");
    }
    assert_eq!(marks("out/same.zst").await.modified, same.modified, "not written again");
    assert_eq!(marks("out/large.zst").await.modified, large.modified, "not written again");
    let other = work("zstd:1");
    assert!(other.contains("done=5 failed=0"), "another level is another process: {other}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_job_that_fails_ends_in_the_dead_letters_and_a_redrive_brings_it_back() {
    let world = world().await;
    world.file("good", b"good");
    world.file("bad", b"bad");
    let (input, output) = (world.uri("in/"), world.uri("out/"));
    world.run(&["submit", "in", "--input", &input, "--output", &output, "--queue", &world.queue]);
    let script = "if [ $BATCHPIPE_KEY = in/bad ]; then echo no good >&2; exit 65; fi; cat";
    let run = ["run", "--queue", &world.queue, "--until-empty", "--metrics-addr", "none", "--", "sh", "-c"];
    let worked = world.run(&[&run[..], &[script]].concat());
    assert_eq!(worked.status.code(), Some(8), "{}", text(&worked));
    assert_eq!(world.keys("out/").await, ["out/good"]);
    let listed = world.run(&["dlq", "list", "--queue", &world.queue]);
    assert!(text(&listed).contains("BP401") && text(&listed).contains("in/bad"), "{}", text(&listed));
    assert!(text(&listed).lines().all(|line| line.chars().count() <= 80), "{}", text(&listed));
    let shown = text(&world.run(&["dlq", "show", "", "--queue", &world.queue]));
    let facts = [
        ("attempts", "1".to_owned()),
        ("input", world.uri("in/bad")),
        ("output", world.uri("out/bad")),
        ("stage", "process".to_owned()),
        ("stderr", "no good".to_owned()),
    ];
    facts.iter().for_each(|(name, value)| assert!(shown.contains(&format!("\n{name:<9} {value}\n")), "{shown}"));
    let redriven = world.run(&["dlq", "redrive", "--queue", &world.queue, "--filter", "code=BP401"]);
    assert!(redriven.status.success(), "{}", text(&redriven));
    let mended = world.run(&[&run[..], &["cat"]].concat());
    assert!(mended.status.success(), "{}", text(&mended));
    assert_eq!(world.object("out/bad").await, b"bad");
}

/// A FIFO queue with dead letters, whose messages come again after a second.
async fn fifo(world: &World) -> String {
    let sqs = world.aws.sqs("us-east-1", None);
    let [dead, queue] = ["-dead.fifo", ".fifo"].map(|end| format!("{}{end}", world.queue));
    let create = |name: &str| sqs.create_queue().queue_name(name).attributes(QueueAttributeName::FifoQueue, "true");
    let dead = create(&dead).send().await.unwrap().queue_url.unwrap();
    let arn = sqs.get_queue_attributes().queue_url(dead).attribute_names(QueueAttributeName::QueueArn).send().await;
    let arn = arn.unwrap().attributes.unwrap()[&QueueAttributeName::QueueArn].clone();
    let redrive = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":4}}"#);
    create(&queue).attributes(QueueAttributeName::RedrivePolicy, redrive).send().await.unwrap();
    queue
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn on_a_fifo_queue_a_group_is_worked_in_order_and_a_failure_holds_it() {
    let world = world().await;
    let queue = fifo(&world).await;
    let store = world.store();
    let sqs = world.aws.sqs("us-east-1", None);
    let url = sqs.get_queue_url().queue_name(&queue).send().await.unwrap().queue_url.unwrap();
    for (nth, group) in (0..4).flat_map(|nth| ["a", "b"].map(|group| (nth, group))) {
        let name = format!("{group}{nth}");
        store
            .put(&Location::s3(&world.bucket, format!("in/{name}")), bytes(10).into(), &Writing::default())
            .await
            .unwrap();
        let body =
            format!(r#"{{"v":1,"input":"{}","output":"{}"}}"#, world.uri(&format!("in/{name}")), world.uri(&name));
        let send = sqs.send_message().queue_url(&url).message_body(body).message_group_id(group);
        send.message_deduplication_id(name).send().await.unwrap();
    }
    // The first attempt at a1 fails; b2 can never work.
    let script = "echo $BATCHPIPE_KEY $BATCHPIPE_ATTEMPT >> ran; case $BATCHPIPE_KEY$BATCHPIPE_ATTEMPT in in/a11) exit \
        1;; in/b2*) exit 65;; esac; cat";
    let run = ["run", "--queue", &queue, "--until-empty", "--metrics-addr", "none", "--", "sh", "-c", script];
    let worked = world.run(&run);
    assert_eq!(worked.status.code(), Some(8), "{}", text(&worked));
    let ran = fs::read_to_string(world.folder.path().join("ran")).unwrap();
    let of = |group: &str| ran.lines().filter(|key| key.starts_with(group)).collect::<Vec<_>>();
    // The one behind a1 came with it, was given back untried, and has one receive more. The last may have come later.
    assert_eq!(of("in/a")[..4], ["in/a0 1", "in/a1 1", "in/a1 2", "in/a2 2"]);
    assert!(of("in/a").len() == 5 && of("in/a")[4].starts_with("in/a3 "), "{ran}");
    assert_eq!(of("in/b"), ["in/b0 1", "in/b1 1", "in/b2 1", "in/b3 1"], "a dead letter lets its group go on");
    let listed = world.run(&["dlq", "list", "--queue", &queue]);
    assert!(text(&listed).contains("BP401") && text(&listed).contains("in/b2"), "{}", text(&listed));
    let redriven = world.run(&["dlq", "redrive", "--queue", &queue]);
    assert!(redriven.status.success() && text(&redriven).contains("moved 1 message"), "{}", text(&redriven));
    let mended = world.run(&[&run[..9], &["cat"]].concat());
    assert!(mended.status.success() && text(&mended).contains("done=1"), "{}", text(&mended));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn submit_to_a_fifo_queue_makes_groups_and_a_repeat_is_dropped() {
    let world = world().await;
    let queue = fifo(&world).await;
    (0..15).for_each(|nth| world.file(&nth.to_string(), &bytes(nth * 10)));
    let (input, output) = (world.uri("in/"), world.uri("out/"));
    let submit = ["submit", "in", "--input", &input, "--output", &output, "--queue", &queue, "--batch", "one"];
    let without = [&submit[..], &["--journal", "none"]].concat();
    for words in [&without, &without] {
        let submitted = world.run(words);
        assert!(submitted.status.success() && text(&submitted).contains("Sent 15 jobs"), "{}", text(&submitted));
    }
    let run = ["run", "--queue", &queue, "--until-empty", "--metrics-addr", "none", "--process", "copy"];
    let worked = world.run(&run);
    assert!(worked.status.success() && text(&worked).contains("done=15"), "{}", text(&worked));
    world.file("3", b"another");
    world.run(&without);
    let changed = world.run(&run);
    assert!(text(&changed).contains("done=1 "), "a changed file is another job: {}", text(&changed));
    assert_eq!(world.object("out/3").await, b"another");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn messages_of_2013_and_of_s3_events_are_jobs_like_any_other() {
    let world = world().await;
    world.file("photo 1.jpg", b"a photo");
    let (input, output) = (world.uri("input/"), world.uri("output/"));
    let old =
        ["submit", "in", "--input", &input, "--output", &output, "--queue", &world.queue, "--format", "sample2013"];
    let submitted = world.run(&old);
    assert!(submitted.status.success(), "{}", text(&submitted));
    let event = format!(
        r#"{{"Records":[{{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put",
            "s3":{{"bucket":{{"name":"{}"}},"object":{{"key":"input/photo+1.jpg","size":7}}}}}}]}}"#,
        world.bucket
    );
    let sqs = world.aws.sqs("us-east-1", None);
    let url = sqs.get_queue_url().queue_name(&world.queue).send().await.unwrap().queue_url.unwrap();
    sqs.send_message().queue_url(url).message_body(event).send().await.unwrap();
    let events = world.uri("events/");
    let run = [
        "run",
        "--queue",
        &world.queue,
        "--until-empty",
        "--metrics-addr",
        "none",
        "--output",
        &events,
        "--input-prefix",
        "input/",
        "--process",
        "copy",
        "--output-suffix",
        ".done",
    ];
    let worked = world.run(&run);
    assert!(worked.status.success(), "{}", text(&worked));
    assert_eq!(world.object("output/photo 1.jpg.done").await, b"a photo");
    assert_eq!(world.object("events/photo 1.jpg.done").await, b"a photo");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn gc_ends_what_a_killed_worker_left_unfinished() {
    let world = world().await;
    let at = Location::s3(&world.bucket, "out/half");
    let upload = world.store().begin(&at, &Writing::default()).await.unwrap();
    upload.part(1, bytes(5 * MIB).into()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let gc = world.run(&["gc", &world.uri("out/"), "--older-than", "1s"]);
    assert!(gc.status.success(), "{}", text(&gc));
    assert_eq!(world.store().unfinished(&Location::s3(&world.bucket, "out/")).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_queue_that_is_not_there_is_named_with_what_may_have_been_meant() {
    let world = world().await;
    let missing = format!("{}x", world.queue);
    let output = world.run(&["run", "--queue", &missing, "--metrics-addr", "none", "--process", "copy"]);
    assert_eq!(output.status.code(), Some(4));
    let said = text(&output);
    assert!(
        said.starts_with("error[BP103]: queue") && said.contains(&format!("did you mean {:?}", world.queue)),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_bucket_that_is_not_there_is_one_error_with_its_remedy() {
    let world = world().await;
    (0..5).for_each(|nth| world.file(&nth.to_string(), b"x"));
    let nowhere = format!("s3://{}-not/in/", world.bucket);
    let submitted = world.run(&["submit", "in", "--input", &nowhere, "--queue", &world.queue]);
    let told = format!("error[BP301]: cannot write to {nowhere}\n");
    assert!(submitted.status.code() == Some(4) && text(&submitted).contains(&told), "{}", text(&submitted));
    assert!(text(&submitted).contains("create the bucket, or correct its name"), "{}", text(&submitted));
    for words in [&["map", &nowhere, "out"][..], &["submit", &nowhere, "--queue", &world.queue]] {
        let refused = world.run(words);
        let told = format!("error[BP301]: cannot read {nowhere}\n");
        assert!(refused.status.code() == Some(4) && text(&refused).starts_with(&told), "{}", text(&refused));
    }
    let told = format!("error[BP301]: cannot write to {nowhere}\n");
    let run = ["run", "--queue", &world.queue, "--output", &nowhere, "--process", "copy", "--metrics-addr", "none"];
    for words in [&["map", "in", &nowhere][..], &run] {
        let refused = world.run(words);
        assert!(refused.status.code() == Some(4) && text(&refused).contains(&told), "{}", text(&refused));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn the_same_files_are_sent_to_another_queue_of_the_same_name() {
    let world = world().await;
    (0..3).for_each(|nth| world.file(&nth.to_string(), b"x"));
    let ireland = world.aws.sqs("eu-west-1", None);
    ireland.create_queue().queue_name(&world.queue).send().await.unwrap();
    let input = world.uri("in/");
    for region in ["us-east-1", "eu-west-1"] {
        let arn = format!("arn:aws:sqs:{region}:000000000000:{}", world.queue);
        for said in ["Sent 3 jobs", "Nothing new: 3 jobs"] {
            let sent = world.run(&["submit", "in", "--input", &input, "--queue", &arn]);
            assert!(sent.status.success() && text(&sent).contains(said), "{region}: {}", text(&sent));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn without_dead_letters_nobody_is_sent_to_look_at_them() {
    let world = world().await;
    let sqs = world.aws.sqs("us-east-1", None);
    let bare = format!("{}-bare", world.queue);
    let url = sqs.create_queue().queue_name(&bare).send().await.unwrap().queue_url.unwrap();
    sqs.send_message().queue_url(url).message_body("no job").send().await.unwrap();
    let worked = world.run(&["run", "--queue", &bare, "--until-empty", "--metrics-addr", "none", "--process", "copy"]);
    assert_eq!(worked.status.code(), Some(8), "{}", text(&worked));
    let next =
        format!("The jobs stay in the queue, because it has no dead-letter queue:  batchpipe doctor --queue {bare}");
    assert!(text(&worked).contains(&next) && !text(&worked).contains("dlq list"), "{}", text(&worked));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn events_of_every_sender_are_worked_and_their_records_are_settled_apart() {
    let world = world().await;
    let bucket = &world.bucket;
    for key in ["call", "ceph+%2B", "lake", "log1", "log2", "first", "last"] {
        world.store().put(&world_at(&world, key), Bytes::from_static(b"x"), &Writing::default()).await.unwrap();
    }
    let record = |source: &str, name: &str, key: &str| {
        format!(
            r#"{{"eventVersion":"2.2","eventSource":"{source}","eventName":"{name}",
                "s3":{{"bucket":{{"name":"{bucket}"}},"object":{{"key":"{key}","versionId":""}}}}}}"#
        )
    };
    let sns = |message: String| {
        serde_json::json!({"Type": "Notification", "TopicArn": "arn:x", "Message": message}).to_string()
    };
    let created = "ObjectCreated:Put";
    let bodies = [
        format!(
            r#"{{"source":"aws.s3","detail-type":"AWS API Call via CloudTrail",
                "detail":{{"eventName":"PutObject","requestParameters":{{"bucketName":"{bucket}","key":"call"}}}}}}"#
        ),
        format!(r#"{{"Records":[{}]}}"#, record("ceph:s3", created, "ceph+%2B")),
        format!(r#"{{"source":"aws.s3","detail":{{"bucket":{{"name":"{bucket}"}},"object":{{"key":"lake"}}}}}}"#),
        sns(format!(r#"{{"s3Bucket":"{bucket}","s3ObjectKey":["log1","log2"]}}"#)),
        sns(format!(
            r#"{{"Records":[{},{},{},{}]}}"#,
            record("aws:s3", created, "first"),
            record("aws:s3", created, "missing"),
            record("aws:s3", "ObjectRenamed:Put", "unknown"),
            record("aws:s3", created, "last")
        )),
        format!(r#"{{"Records":[{}]}}"#, record("aws:s3", "ObjectRemoved:Delete", "gone")),
    ];
    let sqs = world.aws.sqs("us-east-1", None);
    let url = sqs.get_queue_url().queue_name(&world.queue).send().await.unwrap().queue_url.unwrap();
    for body in bodies {
        sqs.send_message().queue_url(&url).message_body(body).send().await.unwrap();
    }
    let output = world.uri("out/");
    let run = [
        "run",
        "--queue",
        &world.queue,
        "--output",
        &output,
        "--process",
        "copy",
        "--until-empty",
        "--wait-time",
        "1s",
    ];
    let worked = world.run(&run);
    let told = text(&worked);
    assert_eq!(worked.status.code(), Some(8), "{told}");
    let expected = ["out/call", "out/ceph+%2B", "out/first", "out/lake", "out/last", "out/log1", "out/log2"];
    assert_eq!(world.keys("out/").await, expected, "{told}");
    assert!(told.contains("done=7") && told.contains("skipped=1") && told.contains("ObjectRemoved:*"), "{told}");

    let listed = text(&world.run(&["dlq", "list", "--queue", &world.queue, "--json"]));
    let letter: serde_json::Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!(
        (letter["code"].as_str(), letter["input"].as_str()),
        (Some("BP301"), Some(&*world.uri("missing"))),
        "{listed}"
    );
    assert_eq!(listed.matches("\"dead_letter\"").count(), 1, "one letter for both: {listed}");
    let shown = text(&world.run(&["dlq", "show", letter["id"].as_str().unwrap(), "--queue", &world.queue]));
    assert!(shown.contains("record 1 of 2") && shown.contains("refused  BP212: "), "{shown}");
    assert!(!shown.contains("first") && !shown.contains("last"), "{shown}");

    // A redrive works what was missing, and leaves what nobody knows.
    world.store().put(&world_at(&world, "missing"), Bytes::from_static(b"x"), &Writing::default()).await.unwrap();
    assert!(world.run(&["dlq", "redrive", "--queue", &world.queue]).status.success());
    let again = text(&world.run(&run));
    assert!(again.contains("done=1") && world.keys("out/missing").await.len() == 1, "{again}");
    let left = text(&world.run(&["dlq", "list", "--queue", &world.queue]));
    assert!(left.contains("BP212") && !left.contains("BP301"), "{left}");
}

fn world_at(world: &World, key: &str) -> Location {
    Location::s3(&world.bucket, key)
}

/// What S3 takes for one beginning is a folder, an object and their neighbours for people.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_prefix_without_a_slash_is_a_folder_and_what_only_begins_like_it_is_left_alone() {
    let world = world().await;
    let (store, at) = (world.store(), |key: &str| Location::s3(&world.bucket, key));
    for key in ["logs", "logs.txt", "logs/a.txt", "logs/2/c.txt", "logs2/c.txt"] {
        store.put(&at(key), Bytes::from(key.to_owned()), &Writing::default()).await.unwrap();
    }
    let (logs, out) = (world.uri("logs"), world.uri("out"));
    for source in ["logs", "logs/"] {
        let mapped = world.run(&["map", &world.uri(source), &out, "--process", "copy"]);
        assert!(mapped.status.success(), "{}", text(&mapped));
        let told = text(&mapped).matches("3 objects are beside it and were not taken").count();
        assert_eq!(told, usize::from(source == "logs"), "{}", text(&mapped));
        assert_eq!(world.keys("out").await, ["out/2/c.txt", "out/a.txt"], "{source}");
    }
    // The object where no folder has its name, and only that object.
    let mapped = world.run(&["map", &world.uri("logs.txt"), &world.uri("one"), "--process", "copy"]);
    assert!(mapped.status.success() && text(&mapped).contains("done=1"), "{}", text(&mapped));
    assert_eq!(world.keys("one").await, ["one/logs.txt"]);

    let sent = world.run(&["submit", &logs, "--output", &world.uri("sub"), "--queue", &world.queue]);
    assert!(text(&sent).contains("Sent 2 jobs") && text(&sent).contains("3 objects are beside it"), "{}", text(&sent));
    let other = ["submit", &world.uri("logs2/"), "--output", &world.uri("sub"), "--queue", &world.queue];
    assert!(text(&world.run(&other)).contains("Sent 1 job"));
    let run = ["run", "--queue", &world.queue, "--until-empty", "--metrics-addr", "none", "--process", "copy"];
    let sub = world.uri("sub");
    let worked = world.run(&[&run[..], &["--allow", &logs, "--allow", &sub]].concat());
    assert_eq!(worked.status.code(), Some(8), "{}", text(&worked));
    assert_eq!(world.keys("sub").await, ["sub/2/c.txt", "sub/a.txt"]);
    let listed = text(&world.run(&["dlq", "list", "--queue", &world.queue]));
    assert!(listed.contains("BP207"), "logs2 is not in logs: {listed}");

    // Messages that name no output: the worker takes the prefix off their inputs.
    for source in [&logs, &world.uri("logs2/")] {
        assert!(world.run(&["submit", source, "--queue", &world.queue, "--journal", "none"]).status.success());
    }
    let worked = world.run(&[&run[..], &["--output", &world.uri("pl"), "--input-prefix", "logs"]].concat());
    assert_eq!(worked.status.code(), Some(8), "{}", text(&worked));
    assert_eq!(world.keys("pl").await, ["pl/2/c.txt", "pl/a.txt"]);
    let listed = text(&world.run(&["dlq", "list", "--queue", &world.queue]));
    assert!(listed.contains("BP209"), "logs2 is not in logs: {listed}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn a_list_may_name_objects_beside_files_and_nothing_of_them_is_uploaded() {
    let world = world().await;
    world.file("a", b"file");
    for key in ["in/there", "elsewhere/b+c"] {
        world.store().put(&world_at(&world, key), Bytes::from_static(b"object"), &Writing::default()).await.unwrap();
    }
    let list = format!("in/a\n{}\n{}\n{}\n", world.uri("in/there"), world.uri("elsewhere/b+c"), world.uri("in/none"));
    fs::write(world.folder.path().join("list"), list).unwrap();
    let (input, output) = (world.uri("in/"), world.uri("out/"));
    let sent = world.run(&["submit", "@list", "--input", &input, "--output", &output, "--queue", &world.queue]);
    let told = text(&sent);
    assert_eq!(sent.status.code(), Some(8), "{told}");
    assert!(
        told.contains("Sent 3 jobs") && told.contains("line 4: ") && told.contains("there is no such object"),
        "{told}"
    );
    assert_eq!(world.keys("in/").await, ["in/in/a", "in/there"]);
    let run = [
        "run",
        "--queue",
        &world.queue,
        "--process",
        "copy",
        "--until-empty",
        "--wait-time",
        "1s",
        "--metrics-addr",
        "none",
    ];
    let worked = world.run(&run);
    assert!(worked.status.success(), "{}", text(&worked));
    assert_eq!(world.keys("out/").await, ["out/elsewhere/b+c", "out/in/a", "out/there"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn gc_of_a_place_without_a_slash_leaves_the_uploads_beside_it_and_tells_of_them() {
    let world = world().await;
    let store = world.store();
    for key in ["logs", "logs/a", "logs2/b"] {
        let begun = store.begin(&Location::s3(&world.bucket, key), &Writing::default()).await.unwrap();
        begun.part(1, Bytes::from_static(b"x")).await.unwrap();
    }
    let swept = world.run(&["gc", &world.uri("logs"), "--older-than", "0s"]);
    assert!(text(&swept).contains("discarded 2 unfinished uploads"), "{}", text(&swept));
    assert!(
        text(&swept).contains("left 1 unfinished upload, because their keys only begin with this name"),
        "{}",
        text(&swept)
    );
    let left = store.unfinished(&Location::s3(&world.bucket, "")).await.unwrap();
    assert_eq!(left.iter().map(|upload| upload.location.key()).collect::<Vec<_>>(), ["logs2/b"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the lab servers: run tests/run"]
async fn two_objects_with_one_output_are_refused_by_map_and_told_by_a_careful_worker() {
    let world = world().await;
    let (store, at) = (world.store(), |key: &str| Location::s3(&world.bucket, key));
    let names = ["ü/a b.csv.zst", "ü/a b.csv.ZST"];
    for name in names {
        let body = zstd::encode_all(name.as_bytes(), 1).unwrap();
        store.put(&at(&format!("in/{name}")), body.into(), &Writing::default()).await.unwrap();
    }
    let (input, output) = (world.uri("in"), world.uri("out"));
    for command in [vec!["map", &input, &output], vec!["submit", &input, "--output", &output, "--queue", &world.queue]]
    {
        let refused = world.run(&[&command[..], &["--process", "decompress"]].concat());
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
        assert!(text(&refused).contains("BP125"), "{}", text(&refused));
        assert!(
            names.iter().all(|name| text(&refused).contains(&world.uri(&format!("in/{name}")))),
            "{}",
            text(&refused)
        );
    }
    assert!(world.keys("out").await.is_empty());
    let sent = world.run(&["submit", &input, "--output", &output, "--queue", &world.queue]);
    assert!(sent.status.success(), "{}", text(&sent));
    let run = ["run", "--queue", &world.queue, "--until-empty", "--metrics-addr", "none", "--concurrency", "1"];
    let worked = world.run(&[&run[..], &["--process", "decompress", "--if-exists", "fail"]].concat());
    assert_eq!(worked.status.code(), Some(8), "{}", text(&worked));
    let there = String::from_utf8(world.object("out/ü/a b.csv").await).unwrap();
    let head = store.head(&at("out/ü/a b.csv")).await.unwrap().unwrap();
    assert!(head.metadata["batchpipe-input"].is_ascii());
    let listed = world.run(&["dlq", "list", "--queue", &world.queue, "--json"]);
    assert!(text(&listed).contains("BP315"), "{}", text(&listed));
    assert!(names.iter().all(|name| text(&listed).contains(&world.uri(&format!("in/{name}")))), "{}", text(&listed));
    assert!(text(&listed).contains(&format!("{there}\\\" have one output")), "the first stays: {}", text(&listed));
}
