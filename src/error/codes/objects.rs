//! BP3xx: the object. Whoever made it, or keeps it, can act.

use super::Text;
use crate::error::Exit;

pub(super) const OBJECT_MISSING: Text = Text {
    title: "the object, or its bucket, does not exist",
    exit: Exit::Access,
    help: "check the name and the region; list the buckets there are:  aws s3 ls",
    meaning: "The message moved to the dead-letter queue, because a retry can't help.",
    why: "The object was deleted after the message was sent, expired by a lifecycle rule, or never uploaded under this \
        key. Keys are exact: batchpipe adds no slash and decodes nothing.",
    fix: "Compare the key letter by letter. If the object exists again, redrive the message.",
    example: "aws s3api head-object --bucket acme-in --key raw/a.csv",
};

pub(super) const OBJECT_CHANGED: Text = Text {
    title: "the object changed",
    exit: Exit::SomeFailed,
    help: "submit the object again if no newer message exists",
    meaning: "The message moved to the dead-letter queue and nothing was published, because the output would have \
        mixed two versions of the object.",
    why: "The object is not the version that the message means (its ETag differs), or the object was replaced while it \
        was read. If events feed the queue, the newer object sends a message of its own.",
    fix: "If there is no newer message, submit the object again.",
    example: "batchpipe dlq list --queue jobs",
};

pub(super) const DATA_DAMAGED: Text = Text {
    title: "the data is damaged or ends early",
    exit: Exit::SomeFailed,
    help: "test the file with the codec's own tool, and upload it again",
    meaning: "The message moved to the dead-letter queue and nothing was published. The cause names the codec and the \
        byte.",
    why: "The upload of the input was cut short, the file has another format than its name says, or bytes follow the \
        end of the compressed data.",
    fix: "Test the file with the codec's own tool, and upload it again.",
    example: "aws s3 cp s3://acme-in/a.csv.gz - | gzip -t",
};

pub(super) const EXPANDS_TOO_FAR: Text = Text {
    title: "the data expands beyond the limit",
    exit: Exit::SomeFailed,
    help: "if the file is to be trusted, raise the limit that the cause names",
    meaning: "The message moved to the dead-letter queue. Decompression stopped when the limit was reached.",
    why: "The input is a small file with many repetitions, or a file that was made to fill disks (a decompression \
        bomb).",
    fix: "If you trust the file, raise the limit that the cause names, --max-ratio or --max-expanded-bytes, and \
        redrive. For example, a disk image is mostly zeros, and zstd makes it 30,000 times smaller. Otherwise find out \
        where the file came from.",
    example: "batchpipe run --queue jobs --max-ratio none --output s3://acme-out/ --process decompress",
};

pub(super) const CHECKSUM_MISMATCH: Text = Text {
    title: "the bytes that arrived do not match their checksum or length",
    exit: Exit::Failed,
    help: "repeat the command; if it fails again, read the object on another machine",
    meaning: "The bytes were not used and nothing was published. The job is retried.",
    why: "A network card, a proxy or memory damaged the bytes on the way. If the same object always fails, it is \
        damaged in the store.",
    fix: "If the error goes away, do nothing. If it repeats on one machine, replace the machine.",
    example: "aws s3api get-object-attributes --bucket acme-in --key a.csv --object-attributes Checksum",
};

pub(super) const NOT_COMPRESSED: Text = Text {
    title: "the data is in no known compressed format",
    exit: Exit::SomeFailed,
    help: "leave such objects out, or name the format:  --process decompress:gzip",
    meaning: "The message moved to the dead-letter queue and nothing was published. The cause shows the first bytes.",
    why: "The worker decompresses, but the object is not compressed, or has another format than its name says.",
    fix: "Exclude such objects when you submit, or name the format: decompress:gzip.",
    example: "aws s3api get-object --bucket acme-in --key a.csv.gz --range bytes=0-15 /dev/stdout",
};

pub(super) const OUTPUT_EXISTS: Text = Text {
    title: "another output already exists",
    exit: Exit::SomeFailed,
    help: "choose what becomes of outputs that are there:  --if-exists",
    meaning: "The message moved to the dead-letter queue, and the existing output is unchanged.",
    why: "The worker runs with --if-exists fail, and the existing output was not made by this job. It was made from \
        another version of the input, by another processor or by another tool, or it lost its marks (the metadata \
        batchpipe-source and batchpipe-processor) when it was copied. An output that the same job made before is no \
        error.",
    fix: "Use --if-exists skip to make such outputs again, or --if-exists overwrite.",
    example: "aws s3api head-object --bucket acme-out --key gz/a.csv.gz --query Metadata",
};

pub(super) const THROTTLED: Text = Text {
    title: "the service asked for fewer requests",
    exit: Exit::Failed,
    help: "wait a moment, and repeat the command",
    meaning: "The request is retried after growing pauses. Throttling does not fail the job.",
    why: "S3 serves about 3500 writes and 5500 reads per second for each prefix. S3 raises these limits only while the \
        load lasts.",
    fix: "If it goes away, do nothing. Otherwise lower --concurrency, or spread the keys over several prefixes.",
    example: "batchpipe run --queue jobs --concurrency 32 --output s3://acme-out/gz/ --process gzip",
};

pub(super) const REQUEST_INVALID: Text = Text {
    title: "the service refused the request as invalid",
    exit: Exit::Failed,
    help: "check the names: the service does not take this request",
    meaning: "The message moved to the dead-letter queue, because the service would refuse the same request again.",
    why: "The object is archived in Glacier and must be restored first. Or the request breaks a limit of the service \
        or a rule of the bucket: a required encryption, a key that the bucket does not take, or an object that is \
        encrypted with a key of the customer's own.",
    fix: "Read the service's own words in the cause.",
    example: "batchpipe dlq list --queue jobs",
};

pub(super) const TOO_MANY_PARTS: Text = Text {
    title: "the output has too many parts",
    exit: Exit::SomeFailed,
    help: "raise --part-size",
    meaning: "The job was rejected and its upload aborted.",
    why: "An S3 object has at most 10,000 parts. If the length of the output is not known in advance, batchpipe makes \
        the parts larger as the output grows, but only while memory is free.",
    fix: "Start with a larger --part-size, and give the worker enough --memory for two parts.",
    example: "batchpipe run --queue jobs --part-size 64MiB --memory 1GiB -- cat",
};

pub(super) const UPLOAD_VANISHED: Text = Text {
    title: "the upload vanished before it was complete",
    exit: Exit::Failed,
    help: "nothing, if it passes: the job is tried again",
    meaning: "Nothing was published. The job is retried.",
    why: "Something aborted the unfinished upload: a lifecycle rule with too short a time, or gc with a short \
        --older-than while the worker was still uploading.",
    fix: "Let lifecycle rules and gc wait a day.",
    example: "batchpipe gc s3://acme-out/ --older-than 24h --dry-run",
};

pub(super) const DESTINATION_CHANGED: Text = Text {
    title: "the destination changed while the output was made",
    exit: Exit::Failed,
    help: "nothing, if it passes: the job is tried again",
    meaning: "The job is retried at once, and looks again at what exists at the output's key. The new object was not \
        replaced.",
    why: "With --if-exists skip or fail, batchpipe writes an output only if the key is free or still holds the object \
        that batchpipe saw before. Meanwhile another worker or another tool wrote to this key, or removed the object.",
    fix: "If it goes away, do nothing. If it repeats, two programs write to the same keys: give each its own prefix.",
    example: "batchpipe status --queue jobs",
};

pub(super) const OBJECT_REFUSED: Text = Text {
    title: "access to this object is denied, though others beside it can be read",
    exit: Exit::SomeFailed,
    help: "check whether the object exists, and who owns it",
    meaning: "The job is retried, and moves to the dead-letter queue after the last attempt. The worker goes on, \
        because it can read other objects next to this one.",
    why: "The object may be missing: S3 answers \"denied\" for a missing object if the caller may not list the bucket. \
        Or the object has another owner, its own KMS key, or a policy for its name. A file has its own permissions.",
    fix: "Give the role s3:ListBucket (ops/role.json has it), so that a missing object is reported at once, as BP301. \
        Make a file readable for the worker's user, or leave the file out.",
    example: "batchpipe doctor --queue jobs --read s3://acme-in/raw/",
};

pub(super) const DECOMPRESSION_MEMORY: Text = Text {
    title: "decompressing the data needs more memory than is available",
    exit: Exit::SomeFailed,
    help: "raise --memory",
    meaning: "The message moved to the dead-letter queue and nothing was published. batchpipe did not allocate the \
        memory that the file asks for.",
    why: "A zstd, xz or brotli file states how much memory a reader needs, and a file of a few bytes may ask for \
        gigabytes. A decompressing step may use its share of --memory, and at most 129 MiB: as much as zstd allows \
        without --long=31, and twice what xz -9 needs.",
    fix: "If you trust the file, give the worker more --memory or fewer --processors, and redrive. Beyond 129 MiB, use \
        the format's own tool.",
    example: "batchpipe run --queue jobs --memory 1GiB -- zstd -dc --long=31",
};

pub(super) const OUTPUT_OF_ANOTHER_INPUT: Text = Text {
    title: "another input has the same output",
    exit: Exit::SomeFailed,
    help: "give the two inputs outputs of different names",
    meaning: "The message moved to the dead-letter queue, and the existing output is unchanged. The reason names both \
        inputs.",
    why: "The worker runs with --if-exists skip or fail, and the existing output was made from another input (for \
        skip: an input that still exists). For example, decompressing makes a.csv from both a.csv.gz and a.csv.zst, or \
        two messages name the same output.",
    fix: "Give one of the two inputs another name or another prefix, keep the suffixes of names with --output-suffix, \
        or let the last input win with --if-exists overwrite. Then redrive.",
    example: "batchpipe dlq list --queue jobs",
};

pub(super) const STORE_PROVES_NOTHING: Text = Text {
    title: "the store reports success, but its response proves nothing",
    exit: Exit::Failed,
    help: "check that the endpoint is the store itself, and no proxy or sign-on page",
    meaning: "The job does not count as done and its message is kept. The job is retried, and moves to the dead-letter \
        queue after the last attempt. The cause names the server and what is missing in its response.",
    why: "S3 gives every object that it writes an ETag. A response without an ETag comes from a proxy, a sign-on page, \
        or a server that broke off. batchpipe then looked for the object, and found neither this job's marks nor the \
        right checksum. BP316 also covers a listing that was cut short, a read whose response does not state what was \
        read, and an upload without an id.",
    fix: "Check that the endpoint is the store itself, and ask the store for the object. When the store works again, \
        redrive the dead letters.",
    example: "curl -sI http://127.0.0.1:9000/acme-out/gz/a.csv.gz",
};

pub(super) const QUEUE_ANSWER_INCOMPLETE: Text = Text {
    title: "the queue's response is incomplete",
    exit: Exit::Failed,
    help: "check that the endpoint is SQS itself, and no proxy or sign-on page",
    meaning: "Nothing counts as done, and a queue without counts does not count as empty. batchpipe makes the call \
        again. A message that may already have been sent is sent once more.",
    why: "SQS names every entry of a batch, gives every message an id and a receipt, and returns the attributes that \
        were asked for. A response without them comes from a proxy, a sign-on page, or a server that is not fully \
        compatible with SQS.",
    fix: "Check that the endpoint is SQS itself.",
    example: "aws sqs get-queue-attributes --queue-url http://127.0.0.1:9324/0/jobs --attribute-names All",
};

pub(super) const ALREADY_COMPRESSED: Text = Text {
    title: "an input is already compressed",
    exit: Exit::Done,
    help: "to decompress such data first:  --process decompress:any",
    meaning: "The input was compressed a second time, and its job is done. batchpipe warns about the first such input, \
        and counts the others.",
    why: "--process begins with a step that compresses, and the input is already compressed. The result is no smaller, \
        and must be decompressed twice.",
    fix: "Decompress such inputs first; decompress:any passes the other inputs through. Or exclude such inputs with \
        --exclude.",
    example: "batchpipe map ./in ./out --process decompress:any,zstd",
};
