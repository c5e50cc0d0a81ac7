//! BP2xx: the message. Whoever sent it can act; the message waits in the dead letters.

use super::Text;
use crate::error::Exit;

pub(super) const NOT_A_JOB: Text = Text {
    title: "the message is not a job",
    exit: Exit::SomeFailed,
    help: "find out who sends to this queue",
    meaning: "The message moved to the dead-letter queue, because a retry can't help.",
    why: "The message is not JSON, or has none of the known formats: a batchpipe job, the 2013 sample's array, an S3 \
        event, an EventBridge event, a CloudTrail notice, or one of these inside SNS or base64. The line and column \
        tell where reading stopped.",
    fix: "Look at the message, and find out which program sends to this queue.",
    example: "batchpipe explain '{\"bucket\": \"photos\", \"key\": \"a.jpg\"}'",
};

pub(super) const UNKNOWN_FIELD: Text = Text {
    title: "the message has an unknown field",
    exit: Exit::SomeFailed,
    help: "remove the field from the message",
    meaning: "The message moved to the dead-letter queue, because a job that is only half understood would make a \
        wrong output.",
    why: "The name of a field is misspelt, or no message may have the field: a message chooses objects, but never an \
        endpoint, a role, a region or a program.",
    fix: "Remove the field. The fields are v, id, input (or bucket and key), output, batch, size, etag, version_id, \
        args.",
    example: "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\"}'",
};

pub(super) const REPEATED_FIELD: Text = Text {
    title: "the message has a field twice",
    exit: Exit::SomeFailed,
    help: "send each field once",
    meaning: "The message moved to the dead-letter queue, because two programs may disagree on which of the two values \
        counts.",
    why: "The sender probably builds JSON by joining strings.",
    fix: "Send each field once. A JSON library does this for you.",
    example: "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\"}'",
};

pub(super) const BAD_FIELD: Text = Text {
    title: "a field of the message is missing or of the wrong type",
    exit: Exit::SomeFailed,
    help: "correct the field that the cause names",
    meaning: "The message moved to the dead-letter queue, because a retry can't help.",
    why: "Typical causes are a number in quotes, null instead of leaving the field out, a URI that is neither s3:// \
        nor file://, or an event without a field that all events have.",
    fix: "Correct the field that the error names. Numbers are whole and not negative.",
    example: "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\", \"size\": 104681}'",
};

pub(super) const NEWER_VERSION: Text = Text {
    title: "the message has a newer version",
    exit: Exit::SomeFailed,
    help: "upgrade the workers, then redrive",
    meaning: "The message moved to the dead-letter queue, because an old worker must not do only half of what a newer \
        message asks for.",
    why: "The submitter was upgraded before the workers.",
    fix: "Upgrade the workers, then redrive the messages.",
    example: "batchpipe dlq redrive --queue jobs --filter code=BP205 --dry-run",
};

pub(super) const BAD_KEY: Text = Text {
    title: "a key is empty, too long or not UTF-8",
    exit: Exit::SomeFailed,
    help: "shorten or correct the key",
    meaning: "The message moved to the dead-letter queue, because S3 can't have an object of this name.",
    why: "S3 keys have 1 to 1024 bytes of UTF-8. A character outside ASCII has two to four bytes. The suffix counts as \
        part of the output's key. The key in an S3 event is form-encoded and must be UTF-8 when decoded.",
    fix: "Shorten the key or the output prefix. Send the key as it is, without percent-encoding.",
    example: "batchpipe explain '{\"bucket\": \"photos\", \"key\": \"a b.jpg\"}'",
};

pub(super) const PLACE_NOT_ALLOWED: Text = Text {
    title: "the message names a place that is not in the allow-list",
    exit: Exit::Usage,
    help: "allow the folders they are read from and written to:  --allow DIRECTORY/  (repeatable)",
    meaning: "Nothing was read or written there. The message moved to the dead-letter queue. The exception is a worker \
        without --allow that has done no job yet: it gives messages about files back to the queue, and stops at the \
        third in a row.",
    why: "The place is under no prefix of --allow. Or the bucket is an ARN, an alias of an access point or not a valid \
        bucket name. Or the place is a local file: the folders of local files must be allowed one by one, and their \
        paths may not contain `..`.",
    fix: "If you trust the sender, add --allow and redrive the message.",
    example: "batchpipe run --queue jobs --allow s3://acme-in/ --allow s3://acme-out/ --process gzip",
};

pub(super) const UNSUPPORTED_EVENT: Text = Text {
    title: "this kind of event is not supported",
    exit: Exit::SomeFailed,
    help: "send only events of objects that were created",
    meaning: "The message moved to the dead-letter queue, because batchpipe does not guess what an event means.",
    why: "The event comes from another service, is an S3 event of another major version, or has no records. Or it is \
        an SNS message other than a notification (such as a request to confirm a subscription), or is wrapped more \
        than three times.",
    fix: "Let the other service send to a queue of its own. Confirm a subscription with the token in the message.",
    example: "aws sns confirm-subscription --topic-arn ARN --token TOKEN",
};

pub(super) const OUTSIDE_INPUT_PREFIX: Text = Text {
    title: "the input's key does not begin with the input prefix",
    exit: Exit::SomeFailed,
    help: "correct --input-prefix, or send only keys that begin with it",
    meaning: "The message moved to the dead-letter queue. If the prefix were removed from some keys only, two inputs \
        could get the same output.",
    why: "The worker runs with --input-prefix, the message names no output, and its input is outside this prefix.",
    fix: "Correct --input-prefix, or name the output in each message.",
    example: "batchpipe run --queue jobs --input-prefix raw/ --output s3://acme-out/gz/ --process gzip",
};

pub(super) const NO_OUTPUT_NAMED: Text = Text {
    title: "neither the message nor the worker names an output",
    exit: Exit::Usage,
    help: "say where outputs go:  --output s3://bucket/prefix/",
    meaning: "The message names no output and the worker has no --output. If the worker has already done other jobs, \
        the message moved to the dead-letter queue. A worker that has done no job gives such messages back to the \
        queue, and stops at the third in a row.",
    why: "Events name only the object that was created, so the worker must know where results go.",
    fix: "Give the worker an output prefix, then redrive the dead letters.",
    example: "batchpipe run --queue jobs --output s3://acme-out/gz/ --process gzip",
};

pub(super) const MESSAGE_DAMAGED: Text = Text {
    title: "the message arrived damaged",
    exit: Exit::Failed,
    help: "nothing, if it passes: the message comes again",
    meaning: "The message was given back to the queue and will be received again.",
    why: "The body does not match the checksum that the queue sent with it. Something between the queue and this \
        worker altered the body.",
    fix: "If this happens once, do nothing. If it repeats, look for a proxy that rewrites responses.",
    example: "batchpipe status --queue jobs",
};

pub(super) const UNKNOWN_EVENT: Text = Text {
    title: "the kind of the event is unknown",
    exit: Exit::SomeFailed,
    help: "send only events of objects that were created",
    meaning: "The message moved to the dead-letter queue. The message was not deleted, because it may announce an \
        object that would then never be processed.",
    why: "The store, S3 or CloudTrail sends a kind of event that is newer than this program or that is not documented. \
        Known kinds are processed if they say that an object was created, and skipped otherwise.",
    fix: "If this kind announces no new object, stop sending it to this queue (remove it from the notification or the \
        rule) and delete the dead letters. If it does, upgrade batchpipe and redrive, or send jobs in batchpipe's own \
        format.",
    example: "batchpipe dlq list --queue jobs",
};

pub(super) const POINTER_MESSAGE: Text = Text {
    title: "the message only points to a message that is stored in S3",
    exit: Exit::SomeFailed,
    help: "send the job itself, which is small enough for a message",
    meaning: "The message moved to the dead-letter queue. batchpipe did not follow the pointer, because a message must \
        not decide where messages are read from.",
    why: "The sender uses the SQS Extended Client Library, which stores a long message in S3 and sends only its \
        location.",
    fix: "Send without this library: a batchpipe message only names objects and is short, and SQS takes 1 MiB.",
    example: "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\"}'",
};
