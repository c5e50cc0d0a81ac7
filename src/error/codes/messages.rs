//! BP2xx: the message. The sender of the message can act; the message waits in the dead-letter queue.

use super::Text;
use crate::error::Exit;

pub(super) const NOT_A_JOB: Text = Text::new(
    "the message is not a job",
    Exit::SomeFailed,
    "find out who sends to this queue",
    "The message moved to the dead-letter queue, because a retry can't help.",
    "The message is not JSON, or has none of the known formats: a batchpipe job, the 2013 sample's array, an S3 event, \
        an EventBridge event, a CloudTrail notice, or one of these inside SNS or base64. The line and column tell \
        where reading stopped.",
    "Look at the message, and find out which program sends to this queue.",
    "batchpipe explain '{\"bucket\": \"photos\", \"key\": \"a.jpg\"}'",
);

pub(super) const UNKNOWN_FIELD: Text = Text::new(
    "the message has an unknown field",
    Exit::SomeFailed,
    "remove the field from the message",
    "The message moved to the dead-letter queue, because a job that is only half understood would make a wrong output.",
    "The name of a field is misspelt, or no message may have the field: a message chooses objects, but never an \
        endpoint, a role, a region or a program.",
    "Remove the field. The fields are v, id, input (or bucket and key), output, batch, size, etag, version_id, args.",
    "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\"}'",
);

pub(super) const REPEATED_FIELD: Text = Text::new(
    "the message has a field twice",
    Exit::SomeFailed,
    "send each field once",
    "The message moved to the dead-letter queue, because two programs may disagree on which of the two values counts.",
    "The sender probably builds JSON by joining strings.",
    "Send each field once. A JSON library does this for you.",
    "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\"}'",
);

pub(super) const BAD_FIELD: Text = Text::new(
    "a field of the message is missing or of the wrong type",
    Exit::SomeFailed,
    "correct the field that the cause names",
    "The message moved to the dead-letter queue, because a retry can't help.",
    "Typical causes are a number in quotes, null instead of leaving the field out, a URI that is neither s3:// nor \
        file://, or an event without a field that all events have.",
    "Correct the field that the error names. Numbers are whole and not negative.",
    "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\", \"size\": 104681}'",
);

pub(super) const NEWER_VERSION: Text = Text::new(
    "the message has a newer version",
    Exit::SomeFailed,
    "upgrade the workers, then redrive",
    "The message moved to the dead-letter queue, because an old worker must not do only half of what a newer message \
        asks for.",
    "The submitter was upgraded before the workers.",
    "Upgrade the workers, then redrive the messages.",
    "batchpipe dlq redrive --queue jobs --filter code=BP205 --dry-run",
);

pub(super) const BAD_KEY: Text = Text::new(
    "a key is empty, too long or not UTF-8",
    Exit::SomeFailed,
    "shorten or correct the key",
    "The message moved to the dead-letter queue, because S3 can't have an object of this name.",
    "S3 keys have 1 to 1024 bytes of UTF-8. A character outside ASCII has two to four bytes. The suffix counts as part \
        of the output's key. The key in an S3 event is form-encoded and must be UTF-8 when decoded.",
    "Shorten the key or the output prefix. Send the key as it is, without percent-encoding.",
    "batchpipe explain '{\"bucket\": \"photos\", \"key\": \"a b.jpg\"}'",
);

pub(super) const PLACE_NOT_ALLOWED: Text = Text::new(
    "the message names a place that is not in the allow-list",
    Exit::Usage,
    "allow the folders they are read from and written to:  --allow DIRECTORY/  (repeatable)",
    "Nothing was read or written there. The message moved to the dead-letter queue. The exception is a worker without \
        --allow that has done no job yet: it gives messages about files back to the queue, and stops at the third in a \
        row.",
    "The place is under no prefix of --allow. Or the bucket is an ARN, an alias of an access point or not a valid \
        bucket name. Or the place is a local file: the folders of local files must be allowed one by one, and their \
        paths may not contain `..`.",
    "If you trust the sender, add --allow and redrive the message.",
    "batchpipe run --queue jobs --allow s3://acme-in/ --allow s3://acme-out/ --process gzip",
);

pub(super) const UNSUPPORTED_EVENT: Text = Text::new(
    "this kind of event is not supported",
    Exit::SomeFailed,
    "send only events of objects that were created",
    "The message moved to the dead-letter queue, because batchpipe does not guess what an event means.",
    "The event comes from another service, is an S3 event of another major version, or has no records. Or it is an SNS \
        message other than a notification (such as a request to confirm a subscription), or is wrapped more than three \
        times.",
    "Let the other service send to a queue of its own. Confirm a subscription with the token in the message.",
    "aws sns confirm-subscription --topic-arn ARN --token TOKEN",
);

pub(super) const OUTSIDE_INPUT_PREFIX: Text = Text::new(
    "the input's key does not begin with the input prefix",
    Exit::SomeFailed,
    "correct --input-prefix, or send only keys that begin with it",
    "The message moved to the dead-letter queue. If the prefix were removed from some keys only, two inputs could get \
        the same output.",
    "The worker runs with --input-prefix, the message names no output, and its input is outside this prefix.",
    "Correct --input-prefix, or name the output in each message.",
    "batchpipe run --queue jobs --input-prefix raw/ --output s3://acme-out/gz/ --process gzip",
);

pub(super) const NO_OUTPUT_NAMED: Text = Text::new(
    "neither the message nor the worker names an output",
    Exit::Usage,
    "say where outputs go:  --output s3://bucket/prefix/",
    "The message names no output and the worker has no --output. If the worker has already done other jobs, the \
        message moved to the dead-letter queue. A worker that has done no job gives such messages back to the queue, \
        and stops at the third in a row.",
    "Events name only the object that was created, so the worker must know where results go.",
    "Give the worker an output prefix, then redrive the dead letters.",
    "batchpipe run --queue jobs --output s3://acme-out/gz/ --process gzip",
);

pub(super) const MESSAGE_DAMAGED: Text = Text::new(
    "the message arrived damaged",
    Exit::Failed,
    "nothing, if it passes: the message comes again",
    "The message was given back to the queue and will be received again.",
    "The body does not match the checksum that the queue sent with it. Something between the queue and this worker \
        altered the body.",
    "If this happens once, do nothing. If it repeats, look for a proxy that rewrites responses.",
    "batchpipe status --queue jobs",
);

pub(super) const UNKNOWN_EVENT: Text = Text::new(
    "the kind of the event is unknown",
    Exit::SomeFailed,
    "send only events of objects that were created",
    "The message moved to the dead-letter queue. The message was not deleted, because it may announce an object that \
        would then never be processed.",
    "The store, S3 or CloudTrail sends a kind of event that is newer than this program or that is not documented. \
        Known kinds are processed if they say that an object was created, and skipped otherwise.",
    "If this kind announces no new object, stop sending it to this queue (remove it from the notification or the rule) \
        and delete the dead letters. If it does, upgrade batchpipe and redrive, or send jobs in batchpipe's own \
        format.",
    "batchpipe dlq list --queue jobs",
);

pub(super) const POINTER_MESSAGE: Text = Text::new(
    "the message only points to a message that is stored in S3",
    Exit::SomeFailed,
    "send the job itself, which is small enough for a message",
    "The message moved to the dead-letter queue. batchpipe did not follow the pointer, because a message must not \
        decide where messages are read from.",
    "The sender uses the SQS Extended Client Library, which stores a long message in S3 and sends only its location.",
    "Send without this library: a batchpipe message only names objects and is short, and SQS takes 1 MiB.",
    "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\"}'",
);
