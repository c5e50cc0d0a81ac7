//! BP123 to BP128: what a command refuses before it begins. Whoever typed it can act.

use super::Text;
use crate::error::Exit;

pub(super) const NEEDS_YES: Text = Text::new(
    "this needs a yes",
    Exit::Usage,
    "add  --yes  if this is what you want",
    "Nothing was changed.",
    "The command changes or deletes what can't be brought back, and there is no terminal to ask at, or the answer \
        was no.",
    "Look first with --dry-run, then add --yes.",
    "batchpipe dlq purge --queue jobs --dry-run",
);

pub(super) const WRONG_JOURNAL: Text = Text::new(
    "the journal is no journal, or that of another command",
    Exit::Usage,
    "name another with  --journal FILE , or do without:  --journal none",
    "Nothing was started, and the file is as it was.",
    "--journal names a file that batchpipe did not make, or the journal of another source, destination or queue. With \
        that one, files would be taken for submitted that never were. The cause names what the journal belongs to, and \
        what this command is.",
    "Name another file, or leave --journal out: every submit has a journal of its own. If the file is what a power \
        failure left of a journal (nothing but zeros), remove it.",
    "batchpipe submit ./photos --input s3://acme-in/ --queue jobs --journal photos.journal",
);

pub(super) const OUTPUT_COLLISION: Text = Text::new(
    "two inputs would have one output",
    Exit::Usage,
    "rename one of the inputs, or process them apart",
    "Nothing was started: the second output would replace the first, and both jobs would be told as done. The message \
        names both inputs.",
    "Steps that decompress take the ending off a name, so a.csv, a.csv.gz and a.csv.zst all become a.csv. In a list two \
        names may be one key (etc/x and /etc/x). Some file systems take A.csv and a.csv for one name, and in any directory a \
        name is that of a file or of a folder.",
    "Leave one of them out with --exclude, work on them in two commands with different outputs, or keep the endings of \
        names with --output-suffix.",
    "batchpipe map ./in ./out --process decompress --exclude '*.zst' --dry-run",
);

pub(super) const SECRET_IN_ADDRESS: Text = Text::new(
    "an address holds a user name, a password or a query",
    Exit::Usage,
    "take the secret out of the endpoint that is named above",
    "Nothing was started, and the password was not shown.",
    "The address of a server is written as http://user:password@host (or with %40 for the @), or as http://host/?token=secret. \
        Requests to S3 and SQS are signed with the keys of AWS and carry no password, no query and no fragment of the address, so \
        that these would do nothing but stand in logs and process lists.",
    "Leave out what stands before the @, and from the ? or the # on. Keys belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in a profile.",
    "batchpipe doctor --queue jobs --endpoint-url http://127.0.0.1:9000",
);

pub(super) const OUTPUT_UNUSED: Text = Text::new(
    "the worker's --output was not used",
    Exit::Done,
    "leave --output out, or leave the output out of the messages",
    "Nothing went wrong: every job is done, and its output is where its message says.",
    "Every message named an output of its own, and a message goes before --output.",
    "Leave --output out, or let the sender name no output. To refuse messages that write elsewhere, add --allow.",
    "batchpipe explain @message.json",
);
