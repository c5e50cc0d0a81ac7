//! BP3xx: the object. The person who made or stores the object can fix these.

use super::Text;

pub(super) const OBJECT_MISSING: Text = Text::new(
    "the object, or its bucket, does not exist",
    "The message moved to the dead letters. Trying again can't help.",
    "The object was deleted after the message was sent, was expired by a lifecycle rule, or was never uploaded under \
        this key. Keys are exact: batchpipe adds no slash and decodes nothing.",
    "Compare the key letter by letter. Redrive the message when the object exists again.",
    "aws s3api head-object --bucket acme-in --key raw/a.csv",
);

pub(super) const OBJECT_CHANGED: Text = Text::new(
    "the object changed",
    "The message moved to the dead letters and nothing was published, because an output made from halves of two \
        versions would be worse than none.",
    "The object is not the version that the message names (its ETag differs), or it was replaced while it was read. If \
        events feed the queue, the newer version sends its own message.",
    "Submit the object again if no newer message exists.",
    "batchpipe dlq list --queue jobs",
);

pub(super) const DATA_DAMAGED: Text = Text::new(
    "the data is damaged or ends early",
    "The message moved to the dead letters and nothing was published. The cause names the codec and the byte.",
    "The upload of the input was cut short, the file is not in the format that its name says, or extra bytes follow \
        its end.",
    "Test the file with the format's own tool, and upload it again.",
    "aws s3 cp s3://acme-in/a.csv.gz - | gzip -t",
);

pub(super) const EXPANDS_TOO_FAR: Text = Text::new(
    "the data expands beyond the limit",
    "The message moved to the dead letters; decompression stopped when the limit was passed.",
    "The file has many repeated bytes, or was made to fill disks (a decompression bomb).",
    "If you trust the file, raise the limit that the cause names, --max-ratio or --max-expanded-bytes, and redrive. \
        Harmless files can pass the limit: a disk image is mostly zeros, and zstd makes it 30,000 times smaller. \
        Otherwise find out where the file came from.",
    "batchpipe run --queue jobs --max-ratio none --output s3://acme-out/ --process decompress",
);

pub(super) const CHECKSUM_MISMATCH: Text = Text::new(
    "the bytes that arrived do not match their checksum or length",
    "The bytes were not used. Nothing was published, and the job is tried again.",
    "The bytes were damaged in transit: by a network card, a proxy or memory. If the same object always fails, it is \
        damaged in the store.",
    "Nothing, if the next try succeeds. If the failure repeats on one machine, replace the machine.",
    "aws s3api get-object-attributes --bucket acme-in --key a.csv --object-attributes Checksum",
);

pub(super) const NOT_COMPRESSED: Text = Text::new(
    "the data is in no known compressed format",
    "The message moved to the dead letters and nothing was published. The cause shows the first bytes.",
    "The worker decompresses, but the object is not compressed, or its format is not the one that its name says.",
    "Leave such objects out when submitting, or name the format: decompress:gzip.",
    "aws s3api get-object --bucket acme-in --key a.csv.gz --range bytes=0-15 /dev/stdout",
);

pub(super) const OUTPUT_EXISTS: Text = Text::new(
    "another output already exists",
    "The message moved to the dead letters, and the existing output was not changed.",
    "The worker runs with --if-exists fail, and the existing output is not this job's: it was made from another \
        version of the input, by another processor or another tool, or it lost its marks (the metadata \
        batchpipe-source and batchpipe-processor) when it was copied. An output that the same job made earlier is not \
        a failure.",
    "Use --if-exists skip to make such outputs again, or --if-exists overwrite to make all outputs again.",
    "aws s3api head-object --bucket acme-out --key gz/a.csv.gz --query Metadata",
);

pub(super) const THROTTLED: Text = Text::new(
    "the service asked for fewer requests",
    "The request is tried again with growing pauses; the job does not fail.",
    "S3 serves about 3500 writes and 5500 reads per second for each prefix, and raises this rate only while the load \
        lasts.",
    "Nothing, if the throttling ends. Otherwise lower --concurrency, or spread the keys over several prefixes.",
    "batchpipe run --queue jobs --concurrency 32 --output s3://acme-out/gz/ --process gzip",
);

pub(super) const REQUEST_INVALID: Text = Text::new(
    "the service refused the request as invalid",
    "The message moved to the dead letters, because the same request would be refused again.",
    "The object is archived in Glacier and must be restored first; or the request breaks a limit of the service or a \
        rule of the bucket: encryption is required, the key is not accepted, or the object is encrypted with the \
        customer's own key.",
    "Read the cause, which quotes the service.",
    "batchpipe dlq list --queue jobs",
);

pub(super) const TOO_MANY_PARTS: Text = Text::new(
    "the output has too many parts",
    "The job was rejected and its upload was aborted.",
    "An object has at most 10,000 parts. If the length of an output is unknown, its parts grow as the output grows, \
        but only while memory is free.",
    "Set a larger --part-size, and give the worker memory for two such parts.",
    "batchpipe run --queue jobs --part-size 64MiB --memory 1GiB -- cat",
);

pub(super) const UPLOAD_VANISHED: Text = Text::new(
    "the upload vanished before it was complete",
    "The job is tried again. Nothing was published.",
    "Something aborted the unfinished upload: a lifecycle rule with too short a time, or gc with a short --older-than \
        while the worker was uploading.",
    "Let lifecycle rules and gc wait for a day.",
    "batchpipe gc s3://acme-out/ --older-than 24h --dry-run",
);

pub(super) const DESTINATION_CHANGED: Text = Text::new(
    "the destination changed while the output was made",
    "The job is tried again at once, and checks again which object exists. The new object at the destination was not \
        replaced.",
    "With --if-exists skip or fail, an output is published only if no object exists at the destination, or if the \
        object there is still the one that was checked. In the meantime another worker or another tool wrote or \
        removed an object there.",
    "Nothing, if the next try succeeds. If the failure repeats, two programs write to the same keys: give each its own \
        prefix.",
    "batchpipe status --queue jobs",
);

pub(super) const OBJECT_REFUSED: Text = Text::new(
    "access to this object is denied, though others beside it can be read",
    "The job is tried again, and finally moved to the dead letters. The worker goes on, because it can read other \
        objects beside this object.",
    "The object is missing, and S3 answers \"denied\" for a missing object if the role may not list the bucket; or the \
        object has another owner, its own encryption key or a policy for its name. A file has its own permissions.",
    "Give the role s3:ListBucket (ops/role.json has it), so that a missing object is reported at once, as BP301. Make \
        a file readable for the worker's user, or leave the file out.",
    "batchpipe doctor --queue jobs --read s3://acme-in/raw/",
);

pub(super) const DECOMPRESSION_MEMORY: Text = Text::new(
    "decompressing the data needs more memory than is available",
    "The message moved to the dead letters and nothing was published. The requested memory was not allocated.",
    "A zstd, xz or brotli file states how much memory its reader must have, and a file of a few bytes may ask for \
        gigabytes. A decompressing step may use its share of --memory, at most 129 MiB: as much as zstd uses without \
        --long=31, and twice as much as xz -9 needs.",
    "If you trust the file, give the worker more --memory or fewer --processors and redrive; if the file needs more \
        than 129 MiB, use the format's own tool.",
    "batchpipe run --queue jobs --memory 1GiB -- zstd -dc --long=31",
);

pub(super) const OUTPUT_OF_ANOTHER_INPUT: Text = Text::new(
    "another input has the same output",
    "The message moved to the dead letters, and the existing output was not changed. The reason names both inputs.",
    "The worker runs with --if-exists skip or fail, and the existing output was made from another input (for skip: \
        another input that still exists): steps that decompress make a.csv from both a.csv.gz and a.csv.zst, or two \
        messages name the same output.",
    "Give one of the two outputs another name or another prefix, keep the endings of names with --output-suffix, or \
        let the last output win with --if-exists overwrite; then redrive.",
    "batchpipe dlq list --queue jobs",
);

pub(super) const STORE_PROVES_NOTHING: Text = Text::new(
    "the store reports success, but its response proves nothing",
    "The job does not count as done and its message is kept: the job is tried again, and finally moved to the dead \
        letters. The cause names the server and what its response lacks.",
    "S3 returns an ETag for every object that it writes. A response without an ETag comes from a proxy, a sign-on \
        page, or a server that broke off. batchpipe then looked for the object, and it has neither the marks of this \
        job nor the right checksum. The same code covers a listing that was cut off, a read whose response does not \
        say what was read, and an upload without an id.",
    "Check that the endpoint is the store itself, and request the object from it. Redrive the dead letters when the \
        store works again.",
    "curl -sI http://127.0.0.1:9000/acme-out/gz/a.csv.gz",
);

pub(super) const QUEUE_ANSWER_INCOMPLETE: Text = Text::new(
    "the queue's response is incomplete",
    "Nothing counts as done, and a queue that does not report its counts does not count as empty. The call is made \
        again; a message that may have been sent is sent once more.",
    "SQS reports every entry of a batch, gives every message an id and a receipt, and returns the requested \
        attributes. A response without them comes from a proxy, a sign-on page, or a server that is not fully \
        compatible with SQS.",
    "Check that the endpoint is SQS itself.",
    "aws sqs get-queue-attributes --queue-url http://127.0.0.1:9324/0/jobs --attribute-names All",
);

pub(super) const ALREADY_COMPRESSED: Text = Text::new(
    "an input is already compressed",
    "The input was compressed once more, and its job is done. This warning appears for the first such input; the \
        others are counted.",
    "--process begins with a step that compresses, but the input is already in a compressed format. The result is no \
        smaller, and must be decompressed twice.",
    "Decompress such inputs first; decompress:any passes uncompressed inputs through. Or leave them out when they are \
        listed, with --exclude.",
    "batchpipe map ./in ./out --process decompress:any,zstd",
);
