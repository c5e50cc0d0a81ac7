//! BP2xx: the message. Its sender can fix these; the message waits in the dead letters.

use super::Text;

pub(super) const NOT_A_JOB: Text = Text::new(
    "the message is not a job",
    "The message moved to the dead letters. Trying again can't help.",
    "The message is not JSON, or it has none of the known formats: a batchpipe job, the 2013 sample's array, an S3 \
        event, an EventBridge event, a CloudTrail notice, or any of these wrapped in SNS or base64. The line and \
        column show where reading stopped.",
    "Read the message, and find out who sends to this queue.",
    "batchpipe explain '{\"bucket\": \"photos\", \"key\": \"a.jpg\"}'",
);

pub(super) const UNKNOWN_FIELD: Text = Text::new(
    "the message has an unknown field",
    "The message moved to the dead letters, because a job that is only half understood would make a wrong output.",
    "A field is misspelt, or no message may have this field: a message chooses objects, but never an endpoint, a role, \
        a region or a program.",
    "Remove the field. The fields are v, id, input (or bucket and key), output, batch, size, etag, version_id, \
        args.",
    "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\"}'",
);

pub(super) const REPEATED_FIELD: Text = Text::new(
    "the message has a field twice",
    "The message moved to the dead letters, because two readers may disagree on which of the two values counts.",
    "The sender builds its JSON by hand.",
    "Send each field once, as JSON libraries do.",
    "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\"}'",
);

pub(super) const BAD_FIELD: Text = Text::new(
    "a field of the message is missing or of the wrong type",
    "The message moved to the dead letters. Trying again can't help.",
    "A number is in quotes, a field is null instead of left out, a URI is neither s3:// nor file://, or an event lacks \
        a field that all events have.",
    "Correct the field that the cause names. Numbers must be whole and not negative.",
    "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\", \"size\": 104681}'",
);

pub(super) const NEWER_VERSION: Text = Text::new(
    "the message has a newer version",
    "The message moved to the dead letters, because an old worker must not do only half of what a newer message asks \
        for.",
    "A submitter was upgraded before the workers.",
    "Upgrade the workers, then redrive the messages.",
    "batchpipe dlq redrive --queue jobs --filter code=BP205 --dry-run",
);

pub(super) const BAD_KEY: Text = Text::new(
    "a key is empty, too long or not UTF-8",
    "The message moved to the dead letters: S3 can't have an object of this name.",
    "S3 accepts keys of 1 to 1024 bytes of UTF-8; a letter outside ASCII has two to four bytes. The output's key \
        includes its suffix. The key in an S3 event is form-encoded and must be UTF-8 when decoded.",
    "Shorten the key or the output prefix. Send keys as they are, not percent-encoded.",
    "batchpipe explain '{\"bucket\": \"photos\", \"key\": \"a b.jpg\"}'",
);

pub(super) const PLACE_NOT_ALLOWED: Text = Text::new(
    "the message names a place that is not in the allow-list",
    "Nothing was read or written at this place. The message moved to the dead letters. Exception: a worker without any \
        --allow that has done no job yet returns messages about files to the queue, and stops at the third such \
        message in a row.",
    "The place is under no prefix of --allow; or the bucket is an ARN, an access point alias or not a valid bucket \
        name; or the place is a local file, and local files must be allowed folder by folder, without `..` in their \
        paths.",
    "If you trust the sender, add --allow and redrive the message.",
    "batchpipe run --queue jobs --allow s3://acme-in/ --allow s3://acme-out/ --process gzip",
);

pub(super) const UNSUPPORTED_EVENT: Text = Text::new(
    "this kind of event is not supported",
    "The message moved to the dead letters, because batchpipe does not guess.",
    "The event is from another service, is an S3 event of another major version or without records, is an SNS message \
        other than a notification (such as a subscription to confirm), or is wrapped more than three times.",
    "Let the other service send to a queue of its own. Confirm a subscription with the token in the message.",
    "aws sns confirm-subscription --topic-arn ARN --token TOKEN",
);

pub(super) const OUTSIDE_INPUT_PREFIX: Text = Text::new(
    "the input's key does not begin with the input prefix",
    "The message moved to the dead letters: if the prefix were removed from some keys only, two inputs could have the \
        same output.",
    "The worker runs with --input-prefix, the message names no output, and its input is outside that prefix.",
    "Correct --input-prefix, or let messages name their outputs.",
    "batchpipe run --queue jobs --input-prefix raw/ --output s3://acme-out/gz/ --process gzip",
);

pub(super) const NO_OUTPUT_NAMED: Text = Text::new(
    "neither the message nor the worker names an output",
    "If the worker has done other jobs, the message moved to the dead letters. A worker that has done no job yet \
        returns such messages to the queue, and stops at the third in a row.",
    "Events name only the object that was created, so the worker needs an --output that says where results go.",
    "Give the worker an output prefix, then redrive the dead letters.",
    "batchpipe run --queue jobs --output s3://acme-out/gz/ --process gzip",
);

pub(super) const MESSAGE_DAMAGED: Text = Text::new(
    "the message arrived damaged",
    "The message went back to the queue and will be received again.",
    "The body does not match the checksum that the queue sent with the message: something between the queue and this \
        worker altered the body.",
    "Nothing, if it happens once. If it happens again, look for a proxy that rewrites responses.",
    "batchpipe status --queue jobs",
);

pub(super) const UNKNOWN_EVENT: Text = Text::new(
    "the kind of the event is unknown",
    "The message moved to the dead letters. It was not deleted, because it may announce an object that would then \
        never be processed.",
    "The store, S3 or CloudTrail sends a kind of event that is newer than this version of batchpipe, or that is \
        undocumented. Events of a known kind are processed if an object was created, and skipped otherwise.",
    "If such events announce no new object, stop sending them to this queue (remove the kind from the notification or \
        the rule) and delete the dead letters. Otherwise upgrade batchpipe and redrive, or send jobs in batchpipe's \
        own format.",
    "batchpipe dlq list --queue jobs",
);

pub(super) const POINTER_MESSAGE: Text = Text::new(
    "the message only points to a message that is stored in S3",
    "The message moved to the dead letters. The pointer was not followed, because a message must not decide where \
        messages are read from.",
    "The sender uses the SQS extended client library, which stores a long message in S3 and sends only its location.",
    "Let the sender work without this library: a message for batchpipe only names objects, so it is short. SQS accepts \
        1 MiB.",
    "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\"}'",
);
