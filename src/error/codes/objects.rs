//! BP3xx: the object. Whoever made it, or keeps it, can act.

use super::Text;
use crate::error::Exit;

pub(super) const OBJECT_MISSING: Text = Text::new(
    "the object, or its bucket, does not exist",
    Exit::Access,
    "check the name and the region; list the buckets there are:  aws s3 ls",
    "The message moved to the dead letters. Trying again can't help.",
    "The object was deleted after the message was sent, expired by a lifecycle rule, or never uploaded by the key \
        that was named. Keys are exact: no slash is added and nothing is decoded.",
    "Compare the key letter by letter, then redrive if the object is back.",
    "aws s3api head-object --bucket acme-in --key raw/a.csv",
);

pub(super) const OBJECT_CHANGED: Text = Text::new(
    "the object changed",
    Exit::SomeFailed,
    "submit the object again if no newer message exists",
    "The message moved to the dead letters and nothing was published: an output of two halves would be worse.",
    "The object is not the one the message means (its ETag differs), or it was replaced while it was read. The \
        newer object sends a message of its own where events feed the queue.",
    "Submit the object again if no newer message exists.",
    "batchpipe dlq list --queue jobs",
);

pub(super) const DATA_DAMAGED: Text = Text::new(
    "the data is damaged or ends early",
    Exit::SomeFailed,
    "test the file with the codec's own tool, and upload it again",
    "The message moved to the dead letters and nothing was published. The cause names the codec and the byte.",
    "The upload of the input was cut short, the file is not what its name says, or bytes follow its end.",
    "Test the file with the codec's own tool, and upload it again.",
    "aws s3 cp s3://acme-in/a.csv.gz - | gzip -t",
);

pub(super) const EXPANDS_TOO_FAR: Text = Text::new(
    "the data expands beyond the limit",
    Exit::SomeFailed,
    "if the file is to be trusted, raise the limit that the cause names",
    "The message moved to the dead letters; expanding was stopped as the limit was passed.",
    "A small file of many repeats, or one that was made to fill disks.",
    "If the file is to be trusted, raise the limit that the cause names, --max-ratio or --max-expanded-bytes, and \
        redrive. An image of a disk is mostly zeros, and zstd makes it 30,000 times smaller. Otherwise ask where the \
        file came from.",
    "batchpipe run --queue jobs --max-ratio none --output s3://acme-out/ --process decompress",
);

pub(super) const CHECKSUM_MISMATCH: Text = Text::new(
    "bytes arrived that do not match their checksum or length",
    Exit::Failed,
    "repeat the command; if it fails again, read the object on another machine",
    "They were not used. The job is tried again, and nothing was published.",
    "A fault on the way: a network card, a proxy, memory. If the same object always fails, it is damaged where it \
        is stored.",
    "Nothing, if it passes. If it repeats on one machine, replace the machine.",
    "aws s3api get-object-attributes --bucket acme-in --key a.csv --object-attributes Checksum",
);

pub(super) const NOT_COMPRESSED: Text = Text::new(
    "the data is in no compressed format that is known",
    Exit::SomeFailed,
    "leave such objects out, or name the format:  --process decompress:gzip",
    "The message moved to the dead letters and nothing was published. The cause shows the first bytes.",
    "The worker decompresses, and the object is not compressed, or in another format than its name says.",
    "Leave such objects out when submitting, or name the format: decompress:gzip.",
    "aws s3api get-object --bucket acme-in --key a.csv.gz --range bytes=0-15 /dev/stdout",
);

pub(super) const OUTPUT_EXISTS: Text = Text::new(
    "there is another output already",
    Exit::SomeFailed,
    "choose what becomes of outputs that are there:  --if-exists",
    "The message moved to the dead letters, and the output is as it was.",
    "The worker runs with --if-exists fail, and the output there is not this job's: it was made from another version \
        of the input, by another processor or another tool, or it lost its marks (the metadata batchpipe-source and \
        batchpipe-processor) in a copy. What the same job has made before is no failure.",
    "Use skip to make such outputs again, or overwrite.",
    "aws s3api head-object --bucket acme-out --key gz/a.csv.gz --query Metadata",
);

pub(super) const THROTTLED: Text = Text::new(
    "the service asked for fewer requests",
    Exit::Failed,
    "wait a moment, and repeat the command",
    "The request is tried again with growing pauses; the job is not failed by it.",
    "S3 serves some 3500 writes and 5500 reads a second for each prefix, and grows that only while the load lasts.",
    "Nothing, if it passes. Otherwise lower --concurrency, or spread the keys over prefixes.",
    "batchpipe run --queue jobs --concurrency 32 --output s3://acme-out/gz/ --process gzip",
);

pub(super) const REQUEST_INVALID: Text = Text::new(
    "the service refused the request as invalid",
    Exit::Failed,
    "check the names: the service does not take this request",
    "The message moved to the dead letters: the same request would be refused again.",
    "The object is archived in Glacier and must be restored first; or a limit of the service or a rule of the \
        bucket: a required encryption, a key it does not take, an object encrypted with the customer's own key.",
    "Read the service's own words in the cause.",
    "batchpipe dlq list --queue jobs",
);

pub(super) const TOO_MANY_PARTS: Text = Text::new(
    "the output has too many parts",
    Exit::SomeFailed,
    "raise --part-size",
    "The job was rejected and its upload aborted.",
    "An object has at most 10,000 parts. The parts of an output of unknown length grow as it grows, but only while \
    memory is free.",
    "Begin with larger parts, and give the worker the memory for two of them.",
    "batchpipe run --queue jobs --part-size 64MiB --memory 1GiB -- cat",
);

pub(super) const UPLOAD_VANISHED: Text = Text::new(
    "the upload vanished before it was complete",
    Exit::Failed,
    "nothing, if it passes: the job is tried again",
    "The job is tried again. Nothing was published.",
    "Something aborted the unfinished upload: a lifecycle rule that is too quick, or gc with a short --older-than \
    while the worker was at it.",
    "Let lifecycle rules and gc wait a day.",
    "batchpipe gc s3://acme-out/ --older-than 24h --dry-run",
);

pub(super) const DESTINATION_CHANGED: Text = Text::new(
    "the place of the output changed while the output was made",
    Exit::Failed,
    "nothing, if it passes: the job is tried again",
    "The job is tried again at once, and looks at what is there then. What appeared was not replaced.",
    "With --if-exists skip or fail an output appears only where nothing is, or over the object that was seen. Another \
        worker or another tool wrote there, or removed what was there, in the meantime.",
    "Nothing, if it passes. If it repeats, two programs write to the same keys: give each a prefix of its own.",
    "batchpipe status --queue jobs",
);

pub(super) const OBJECT_REFUSED: Text = Text::new(
    "the object is refused, though others beside it are not",
    Exit::SomeFailed,
    "check whether the object exists, and who owns it",
    "The job is tried again, and in the end moved to the dead letters. The worker goes on: it can read what lies \
        beside the object.",
    "The object is missing, and S3 says \"denied\" of a missing object to whoever may not list the bucket; or it has \
        another owner, a key of its own or a policy for its name. A file has rights of its own.",
    "Give the role s3:ListBucket (ops/role.json has it), so that a missing object is told at once, as BP301; make a \
    file readable for the worker's user, or leave it out.",
    "batchpipe doctor --queue jobs --read s3://acme-in/raw/",
);

pub(super) const DECOMPRESSION_MEMORY: Text = Text::new(
    "the data needs more memory to be decompressed than there is",
    Exit::SomeFailed,
    "raise --memory",
    "The message moved to the dead letters and nothing was published. Nothing of the size that was asked for was \
    taken.",
    "zstd, xz and brotli write into a file how much memory its reader must have, and a file of a few bytes may ask for \
        gigabytes. A decompressing step may have its share of --memory, at most 129 MiB: what zstd takes without \
        --long=31, and twice what xz -9 needs.",
    "If the file is to be trusted, give the worker more --memory or fewer --processors and redrive; beyond 129 MiB, \
    use the format's own tool.",
    "batchpipe run --queue jobs --memory 1GiB -- zstd -dc --long=31",
);

pub(super) const OUTPUT_OF_ANOTHER_INPUT: Text = Text::new(
    "another input has the same output",
    Exit::SomeFailed,
    "give the two inputs outputs of different names",
    "The message moved to the dead letters, and the output is as it was. The reason names both inputs.",
    "The worker runs with --if-exists skip or fail, and the output there was made from another input, which for skip \
    is still there: steps that decompress make a.csv of a.csv.gz and of a.csv.zst, or two messages name one output.",
    "Give one of the two another name or another prefix, keep the endings of names with --output-suffix, or let the \
    last one win with --if-exists overwrite; then redrive.",
    "batchpipe dlq list --queue jobs",
);

pub(super) const STORE_PROVES_NOTHING: Text = Text::new(
    "the store says success, and its answer proves nothing",
    Exit::Failed,
    "check that the endpoint is the store itself, and no proxy or sign-on page",
    "The job is not done and its message is kept: it is tried again, and in the end moved to the dead letters. The \
    cause names the server and what its answer lacks.",
    "S3 gives every object that it writes an ETag. An answer without an ETag comes from a proxy, a sign-on page, or a \
        server that broke off. The object was then looked for, and has neither the marks of this job nor the right \
        checksum. The same holds for a listing that was cut, for a read that does not tell what was read, and for an \
        upload without an id.",
    "Check that the endpoint is the store itself, and ask it for the object. Redrive the dead letters when the store \
        answers again.",
    "curl -sI http://127.0.0.1:9000/acme-out/gz/a.csv.gz",
);

pub(super) const QUEUE_ANSWER_INCOMPLETE: Text = Text::new(
    "the queue's answer lacks what was asked for",
    Exit::Failed,
    "check that the endpoint is SQS itself, and no proxy or sign-on page",
    "Nothing was taken as done, and a queue that does not tell its counts is not taken for an empty one. The call is \
    made again; a message that may have been sent is sent once more.",
    "SQS names every entry of a batch, gives every message an id and a receipt, and tells the attributes that were \
    asked for. An answer without them comes from a proxy, a sign-on page, or a server that is not quite SQS.",
    "Check that the endpoint is SQS itself.",
    "aws sqs get-queue-attributes --queue-url http://127.0.0.1:9324/0/jobs --attribute-names All",
);

pub(super) const ALREADY_COMPRESSED: Text = Text::new(
    "an input is compressed already",
    Exit::Done,
    "to decompress such data first:  --process decompress:any",
    "It was compressed once more, and its job is done. This is told for the first such input, and counted.",
    "--process begins with a step that compresses, and the input is in a compressed format. The result is no smaller, \
        and has to be decompressed twice.",
    "Decompress such inputs first; decompress:any lets the others through. Or leave them out where they are listed, \
        with --exclude.",
    "batchpipe map ./in ./out --process decompress:any,zstd",
);
