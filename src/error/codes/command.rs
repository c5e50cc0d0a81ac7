//! BP123 to BP128: what a command refuses before it begins. Whoever typed it can act.

use super::Text;
use crate::error::Exit;

pub(super) const NEEDS_YES: Text = Text {
    title: "the command needs confirmation",
    exit: Exit::Usage,
    help: "add  --yes  if this is what you want",
    meaning: "Nothing was changed.",
    why: "The command would make changes that can't be undone, and there is no terminal to ask at, or the answer was \
        no.",
    fix: "First check with --dry-run what would be done, then add --yes.",
    example: "batchpipe dlq purge --queue jobs --dry-run",
};

pub(super) const WRONG_JOURNAL: Text = Text {
    title: "the file is not a journal, or the journal belongs to another command",
    exit: Exit::Usage,
    help: "name another with  --journal FILE , or do without:  --journal none",
    meaning: "Nothing was started, and the file was not changed.",
    why: "--journal names a file that batchpipe did not make, or the journal of another source, destination or queue. \
        With a foreign journal, submit would skip files that were never submitted. The cause names what the journal \
        belongs to, and what this command needs.",
    fix: "Name another file, or leave --journal out: every submit has a journal of its own. If a power failure filled \
        the journal with zeros, remove the file.",
    example: "batchpipe submit ./photos --input s3://acme-in/ --queue jobs --journal photos.journal",
};

pub(super) const OUTPUT_COLLISION: Text = Text {
    title: "two inputs would have the same output",
    exit: Exit::Usage,
    help: "rename one of the inputs, or process them apart",
    meaning: "Nothing was started: the second output would replace the first, and both jobs would be reported as done. \
        The error names both inputs.",
    why: "Steps that decompress remove the ending of a name, so a.csv, a.csv.gz and a.csv.zst all become a.csv. In a \
        list, two names may be the same key (etc/x and /etc/x). Some file systems treat A.csv and a.csv as the same \
        name, and no directory can have a file and a folder of the same name.",
    fix: "Leave one of the inputs out with --exclude, process them in two commands with different outputs, or keep the \
        endings of names with --output-suffix.",
    example: "batchpipe map ./in ./out --process decompress --exclude '*.zst' --dry-run",
};

pub(super) const SECRET_IN_ADDRESS: Text = Text {
    title: "an address holds a user name, a password or a query",
    exit: Exit::Usage,
    help: "take the secret out of the endpoint that is named above",
    meaning: "Nothing was started, and the password was not shown.",
    why: "The address of a server is written as http://user:password@host (or with %40 instead of @), or as \
        http://host/?token=secret. Requests to S3 and SQS are signed with the AWS keys and contain neither the \
        password, the query nor the fragment of the address. These parts would have no effect and would only appear in \
        logs and process lists.",
    fix: "Remove everything up to the @, and everything from the ? or the # on. Put keys in AWS_ACCESS_KEY_ID and \
        AWS_SECRET_ACCESS_KEY, or in a profile.",
    example: "batchpipe doctor --queue jobs --endpoint-url http://127.0.0.1:9000",
};

pub(super) const OUTPUT_UNUSED: Text = Text {
    title: "the worker's --output was not used",
    exit: Exit::Done,
    help: "leave --output out, or leave the output out of the messages",
    meaning: "Nothing went wrong: every job is done, and its output is at the place that its message names.",
    why: "Every message named its own output, and the output in a message takes precedence over --output.",
    fix: "Leave --output out, or let the sender leave the output out of its messages. To refuse messages that write \
        elsewhere, add --allow.",
    example: "batchpipe explain @message.json",
};
