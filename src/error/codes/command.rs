//! BP123 to BP128: what a command refuses before it begins. Whoever typed it can act.

use super::Text;
use crate::error::Exit;

pub(super) const NEEDS_YES: Text = Text {
    title: "the command needs confirmation",
    exit: Exit::Usage,
    help: "add  --yes  if this is what you want",
    meaning: "Nothing was changed.",
    why: "The command changes or deletes data that can't be restored, and there is no terminal to ask for \
        confirmation, or the answer was no.",
    fix: "Check the result with --dry-run first, then add --yes.",
    example: "batchpipe dlq purge --queue jobs --dry-run",
};

pub(super) const WRONG_JOURNAL: Text = Text {
    title: "the file is not a journal, or the journal belongs to another command",
    exit: Exit::Usage,
    help: "name another with  --journal FILE , or do without:  --journal none",
    meaning: "Nothing was started, and the file is unchanged.",
    why: "--journal names a file that batchpipe did not make, or the journal of another source, destination or queue. \
        With another command's journal, files would count as submitted that never were. The cause names the command \
        that the journal belongs to, and this command.",
    fix: "Name another file, or leave --journal out: every submit has its own journal. If a power failure left a \
        journal of zeros only, remove the file.",
    example: "batchpipe submit ./photos --input s3://acme-in/ --queue jobs --journal photos.journal",
};

pub(super) const OUTPUT_COLLISION: Text = Text {
    title: "two inputs would have the same output",
    exit: Exit::Usage,
    help: "rename one of the inputs, or process them apart",
    meaning: "Nothing was started. The second output would have replaced the first, and both jobs would have been \
        reported as done. The error names both inputs.",
    why: "Steps that decompress remove the suffix of a name, so a.csv, a.csv.gz and a.csv.zst all become a.csv. In a \
        list, two names may mean the same key (etc/x and /etc/x). Some file systems treat A.csv and a.csv as the same \
        name. And in a directory, a name can't be both a file and a folder.",
    fix: "Exclude one of the inputs with --exclude, process them with two commands and different outputs, or keep the \
        suffixes of names with --output-suffix.",
    example: "batchpipe map ./in ./out --process decompress --exclude '*.zst' --dry-run",
};

pub(super) const SECRET_IN_ADDRESS: Text = Text {
    title: "an address holds a user name, a password or a query",
    exit: Exit::Usage,
    help: "take the secret out of the endpoint that is named above",
    meaning: "Nothing was started, and the password was not shown.",
    why: "The address of a server has the form http://user:password@host (or %40 instead of the @), or \
        http://host/?token=secret. Requests to S3 and SQS are signed with AWS keys and never carry the password, the \
        query or the fragment of an address. Such secrets would have no effect, but would appear in logs and process \
        lists.",
    fix: "Remove the part before the @, and everything from the ? or the # on. Put keys into AWS_ACCESS_KEY_ID and \
        AWS_SECRET_ACCESS_KEY, or into a profile.",
    example: "batchpipe doctor --queue jobs --endpoint-url http://127.0.0.1:9000",
};

pub(super) const OUTPUT_UNUSED: Text = Text {
    title: "the worker's --output was not used",
    exit: Exit::Done,
    help: "leave --output out, or leave the output out of the messages",
    meaning: "Nothing went wrong: every job is done, and its output is where its message says.",
    why: "Every message named its own output, which takes precedence over --output.",
    fix: "Leave --output out, or let the sender name no output. To refuse messages that write to other places, add \
        --allow.",
    example: "batchpipe explain @message.json",
};
