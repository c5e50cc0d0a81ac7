//! BP2xx: the message. Whoever sent it can act; the message waits in the dead letters.

use super::Text;
use crate::error::Exit;

pub(super) const NOT_A_JOB: Text = Text {
    title: "the message is not a job",
    exit: Exit::SomeFailed,
    help: "find out who sends to this queue",
    meaning: "The message moved to the dead letters. Trying again can't help.",
    why: "The message is not JSON, or it has none of the known formats: a batchpipe job, the 2013 sample's array, an \
        S3 event, an EventBridge event, a CloudTrail notice, or any of these wrapped in SNS or base64. The line and \
        column show where reading stopped.",
    fix: "Read the message, and find out who sends to this queue.",
    example: "batchpipe explain '{\"bucket\": \"photos\", \"key\": \"a.jpg\"}'",
};

pub(super) const UNKNOWN_FIELD: Text = Text {
    title: "the message has an unknown field",
    exit: Exit::SomeFailed,
    help: "remove the field from the message",
    meaning: "The message moved to the dead letters, because a job that is only half understood would make a wrong \
        output.",
    why: "A field is misspelt, or no message may have this field: a message chooses objects, but never an endpoint, a \
        role, a region or a program.",
    fix: "Remove the field. The fields are v, id, input (or bucket and key), output, batch, size, etag, version_id, \
        args.",
    example: "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\"}'",
};

pub(super) const REPEATED_FIELD: Text = Text {
    title: "the message has a field twice",
    exit: Exit::SomeFailed,
    help: "send each field once",
    meaning: "The message moved to the dead letters, because two readers may disagree on which of the two values \
        counts.",
    why: "The sender builds its JSON by hand.",
    fix: "Send each field once, as JSON libraries do.",
    example: "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\"}'",
};

pub(super) const BAD_FIELD: Text = Text {
    title: "a field of the message is missing or of the wrong type",
    exit: Exit::SomeFailed,
    help: "correct the field that the cause names",
    meaning: "The message moved to the dead letters. Trying again can't help.",
    why: "A number is in quotes, a field is null instead of left out, a URI is neither s3:// nor file://, or an event \
        lacks a field that all events have.",
    fix: "Correct the field that the cause names. Numbers must be whole and not negative.",
    example: "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\", \"size\": 104681}'",
};

pub(super) const NEWER_VERSION: Text = Text {
    title: "the message has a newer version",
    exit: Exit::SomeFailed,
    help: "upgrade the workers, then redrive",
    meaning: "The message moved to the dead letters, because an old worker must not do only half of what a newer \
        message asks for.",
    why: "A submitter was upgraded before the workers.",
    fix: "Upgrade the workers, then redrive the messages.",
    example: "batchpipe dlq redrive --queue jobs --filter code=BP205 --dry-run",
};

pub(super) const BAD_KEY: Text = Text {
    title: "a key is empty, too long or not UTF-8",
    exit: Exit::SomeFailed,
    help: "shorten or correct the key",
    meaning: "The message moved to the dead letters: S3 can't have an object of this name.",
    why: "S3 accepts keys of 1 to 1024 bytes of UTF-8; a letter outside ASCII has two to four bytes. The output's key \
        includes its suffix. The key in an S3 event is form-encoded and must be UTF-8 when decoded.",
    fix: "Shorten the key or the output prefix. Send keys as they are, not percent-encoded.",
    example: "batchpipe explain '{\"bucket\": \"photos\", \"key\": \"a b.jpg\"}'",
};

pub(super) const PLACE_NOT_ALLOWED: Text = Text {
    title: "the message names a place that is not in the allow-list",
    exit: Exit::Usage,
    help: "allow the folders they are read from and written to:  --allow DIRECTORY/  (repeatable)",
    meaning: "Nothing was read or written at this place. The message moved to the dead letters. Exception: a worker \
        without any --allow that has done no job yet returns messages about files to the queue, and stops at the third \
        such message in a row.",
    why: "The place is under no prefix of --allow; or the bucket is an ARN, an access point alias or not a valid \
        bucket name; or the place is a local file, and local files must be allowed folder by folder, without `..` in \
        their paths.",
    fix: "If you trust the sender, add --allow and redrive the message.",
    example: "batchpipe run --queue jobs --allow s3://acme-in/ --allow s3://acme-out/ --process gzip",
};

pub(super) const UNSUPPORTED_EVENT: Text = Text {
    title: "this kind of event is not supported",
    exit: Exit::SomeFailed,
    help: "send only events of objects that were created",
    meaning: "The message moved to the dead letters, because batchpipe does not guess.",
    why: "The event is from another service, is an S3 event of another major version or without records, is an SNS \
        message other than a notification (such as a subscription to confirm), or is wrapped more than three times.",
    fix: "Let the other service send to a queue of its own. Confirm a subscription with the token in the message.",
    example: "aws sns confirm-subscription --topic-arn ARN --token TOKEN",
};

pub(super) const OUTSIDE_INPUT_PREFIX: Text = Text {
    title: "the input's key does not begin with the input prefix",
    exit: Exit::SomeFailed,
    help: "correct --input-prefix, or send only keys that begin with it",
    meaning: "The message moved to the dead letters: if the prefix were removed from some keys only, two inputs could \
        have the same output.",
    why: "The worker runs with --input-prefix, the message names no output, and its input is outside that prefix.",
    fix: "Correct --input-prefix, or let messages name their outputs.",
    example: "batchpipe run --queue jobs --input-prefix raw/ --output s3://acme-out/gz/ --process gzip",
};

pub(super) const NO_OUTPUT_NAMED: Text = Text {
    title: "neither the message nor the worker names an output",
    exit: Exit::Usage,
    help: "say where outputs go:  --output s3://bucket/prefix/",
    meaning: "If the worker has done other jobs, the message moved to the dead letters. A worker that has done no job \
        yet returns such messages to the queue, and stops at the third in a row.",
    why: "Events name only the object that was created, so the worker needs an --output that says where results go.",
    fix: "Give the worker an output prefix, then redrive the dead letters.",
    example: "batchpipe run --queue jobs --output s3://acme-out/gz/ --process gzip",
};

pub(super) const MESSAGE_DAMAGED: Text = Text {
    title: "the message arrived damaged",
    exit: Exit::Failed,
    help: "nothing, if it passes: the message comes again",
    meaning: "The message went back to the queue and will be received again.",
    why: "The body does not match the checksum that the queue sent with the message: something between the queue and \
        this worker altered the body.",
    fix: "Nothing, if it happens once. If it happens again, look for a proxy that rewrites responses.",
    example: "batchpipe status --queue jobs",
};

pub(super) const UNKNOWN_EVENT: Text = Text {
    title: "the kind of the event is unknown",
    exit: Exit::SomeFailed,
    help: "send only events of objects that were created",
    meaning: "The message moved to the dead letters. It was not deleted, because it may announce an object that would \
        then never be processed.",
    why: "The store, S3 or CloudTrail sends a kind of event that is newer than this version of batchpipe, or that is \
        undocumented. Events of a known kind are processed if an object was created, and skipped otherwise.",
    fix: "If such events announce no new object, stop sending them to this queue (remove the kind from the \
        notification or the rule) and delete the dead letters. Otherwise upgrade batchpipe and redrive, or send jobs \
        in batchpipe's own format.",
    example: "batchpipe dlq list --queue jobs",
};

pub(super) const POINTER_MESSAGE: Text = Text {
    title: "the message only points to a message that is stored in S3",
    exit: Exit::SomeFailed,
    help: "send the job itself, which is small enough for a message",
    meaning: "The message moved to the dead letters. The pointer was not followed, because a message must not decide \
        where messages are read from.",
    why: "The sender uses the SQS extended client library, which stores a long message in S3 and sends only its \
        location.",
    fix: "Let the sender work without this library: a message for batchpipe only names objects, so it is short. SQS \
        accepts 1 MiB.",
    example: "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\"}'",
};
