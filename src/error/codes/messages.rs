//! BP2xx: the message. Whoever sent it can act; the message waits in the dead letters.

use super::Text;
use crate::error::Exit;

pub(super) const NOT_A_JOB: Text = Text::new(
    "the message is not a job",
    Exit::SomeFailed,
    "find out who sends to this queue",
    "It moved to the dead letters. Trying again can't help.",
    "It is not JSON, or none of the formats: a batchpipe job, the 2013 sample's array, an S3 event, an \
        EventBridge event, a CloudTrail notice, any of them in SNS or base64. The line and column are where reading \
        stopped.",
    "Look at the message, and find out who sends to this queue.",
    "batchpipe explain '{\"bucket\": \"photos\", \"key\": \"a.jpg\"}'",
);

pub(super) const UNKNOWN_FIELD: Text = Text::new(
    "the message has an unknown field",
    Exit::SomeFailed,
    "remove the field from the message",
    "It moved to the dead letters. Half a job understood would be a wrong output.",
    "A misspelt field, or one that no message may have: a message chooses objects, and never an endpoint, a role, \
        a region or a program.",
    "Remove the field. The fields are v, id, input (or bucket and key), output, batch, size, etag, version_id, \
        args.",
    "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\"}'",
);

pub(super) const REPEATED_FIELD: Text = Text::new(
    "the message has a field twice",
    Exit::SomeFailed,
    "send each field once",
    "It moved to the dead letters: two readers may disagree on which of the two counts.",
    "The sender builds JSON by hand.",
    "Send each field once; a JSON library does.",
    "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\"}'",
);

pub(super) const BAD_FIELD: Text = Text::new(
    "a field of the message is missing or of the wrong type",
    Exit::SomeFailed,
    "correct the field that the cause names",
    "It moved to the dead letters. Trying again can't help.",
    "A number in quotes, null instead of leaving the field out, a URI that is neither s3:// nor file://, or an \
        event that lacks what all events have.",
    "Correct the field that is named. Numbers are whole and not negative.",
    "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\", \"size\": 104681}'",
);

pub(super) const NEWER_VERSION: Text = Text::new(
    "the message is of a newer version",
    Exit::SomeFailed,
    "upgrade the workers, then redrive",
    "It moved to the dead letters: an old worker must not do half of what a newer message asks for.",
    "A submitter was upgraded before the workers.",
    "Upgrade the workers, then redrive.",
    "batchpipe dlq redrive --queue jobs --filter code=BP205 --dry-run",
);

pub(super) const BAD_KEY: Text = Text::new(
    "a key is empty, too long or not UTF-8",
    Exit::SomeFailed,
    "shorten or correct the key",
    "It moved to the dead letters: S3 has no object of that name.",
    "S3 takes keys of 1 to 1024 bytes of UTF-8; a letter beyond ASCII has two to four. The output's key counts \
        with its suffix. The key of an S3 event is form-encoded and must be UTF-8 when decoded.",
    "Shorten the key or the output prefix. A key is sent as it stands, not percent-encoded.",
    "batchpipe explain '{\"bucket\": \"photos\", \"key\": \"a b.jpg\"}'",
);

pub(super) const PLACE_NOT_ALLOWED: Text = Text::new(
    "the message names a place that is not in the allow-list",
    Exit::Usage,
    "allow the folders they are read from and written to:  --allow DIRECTORY/  (repeatable)",
    "Nothing was read or written there. The message moved to the dead letters; but a worker without any --allow that \
        has done no job yet gives back messages about files, and stops at the third in a row.",
    "The place is under no prefix of --allow; or the bucket is an ARN, an alias of an access point or no bucket's \
        name; or it is a local file, and those must be allowed one folder at a time, without `..` in their paths.",
    "If you trust the sender, add --allow and redrive the message.",
    "batchpipe run --queue jobs --allow s3://acme-in/ --allow s3://acme-out/ --process gzip",
);

pub(super) const UNSUPPORTED_EVENT: Text = Text::new(
    "the event is of no supported kind",
    Exit::SomeFailed,
    "send only events of objects that were created",
    "It moved to the dead letters rather than being guessed at.",
    "An event of another service, an S3 event of another major version or without records, an SNS message that is \
        no notification (a subscription to confirm), or one wrapped more than three times.",
    "Point the other service to a queue of its own. Confirm a subscription with the token that the message holds.",
    "aws sns confirm-subscription --topic-arn ARN --token TOKEN",
);

pub(super) const OUTSIDE_INPUT_PREFIX: Text = Text::new(
    "the input's key does not begin with the input prefix",
    Exit::SomeFailed,
    "correct --input-prefix, or send only keys that begin with it",
    "The message moved to the dead letters: with the prefix taken off some keys only, two inputs could share an \
        output.",
    "The worker runs with --input-prefix, the message names no output, and its input is elsewhere.",
    "Correct --input-prefix, or have messages name their outputs.",
    "batchpipe run --queue jobs --input-prefix raw/ --output s3://acme-out/gz/ --process gzip",
);

pub(super) const NO_OUTPUT_NAMED: Text = Text::new(
    "nothing says where the output goes",
    Exit::Usage,
    "say where outputs go:  --output s3://bucket/prefix/",
    "The message names no output and the worker has none. It moved to the dead letters if the worker has done other \
    jobs; a worker that has done none gives such messages back, and stops at the third in a row.",
    "Events name only the object that was created, so the worker must know where results go.",
    "Give the worker an output prefix, then redrive what is in the dead letters.",
    "batchpipe run --queue jobs --output s3://acme-out/gz/ --process gzip",
);

pub(super) const MESSAGE_DAMAGED: Text = Text::new(
    "the message arrived damaged",
    Exit::Failed,
    "nothing, if it passes: the message comes again",
    "It was given back and will be received again.",
    "Its body does not match the checksum the queue sent with it: something between the queue and this worker altered \
    it.",
    "Nothing, if it happens once. If it goes on, look for a proxy that rewrites answers.",
    "batchpipe status --queue jobs",
);

pub(super) const UNKNOWN_EVENT: Text = Text::new(
    "the event is of an unknown kind",
    Exit::SomeFailed,
    "send only events of objects that were created",
    "It moved to the dead letters. It was not deleted, because it may tell of an object that nobody would process \
    then.",
    "The store, S3 or CloudTrail sends a kind of event that is newer than this program, or one that no document names. \
        Known kinds are worked if an object was created, and skipped otherwise.",
    "If the kind tells of no new object, stop sending it to this queue (remove it from the notification or the rule) \
    and delete the letters. If it does, upgrade batchpipe and redrive, or send jobs of batchpipe's own format.",
    "batchpipe dlq list --queue jobs",
);

pub(super) const POINTER_MESSAGE: Text = Text::new(
    "the message is a pointer to a message that is stored in S3",
    Exit::SomeFailed,
    "send the job itself, which is small enough for a message",
    "It moved to the dead letters. The pointer was not followed: a message must not decide where messages are read \
    from.",
    "The sender uses the extended client library of SQS, which puts a long message into S3 and sends its place only.",
    "Have the sender send without that library: a message of batchpipe names objects and is short. SQS takes 1 MiB.",
    "batchpipe explain '{\"v\": 1, \"input\": \"s3://photos/a.jpg\"}'",
);
