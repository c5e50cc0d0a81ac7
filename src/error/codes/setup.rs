//! BP1xx: the command line, the configuration, the account. Whoever set the worker up can act.

use super::Text;
use crate::error::Exit;

pub(super) const CREDENTIALS_MISSING: Text = Text::new(
    "no AWS credentials found",
    Exit::Credentials,
    "set AWS_PROFILE=<name>, or run on a machine with a role",
    "Nothing was started, because queues and buckets can't be reached without credentials.",
    "batchpipe asked the environment, the profile, the container's role and the instance's role, in this order, and \
        none gave a key. Or --profile or AWS_PROFILE names a profile that does not exist, or one of the two key \
        variables is missing. If --profile, BATCHPIPE_PROFILE or the file names a profile, batchpipe uses only this \
        profile: neither keys in the environment nor a role of the machine replace it.",
    "Name a profile that has credentials, or run on a machine that has a role. Without AWS, `batchpipe map` works on \
        folders.",
    "batchpipe doctor --queue jobs --profile batch",
);

pub(super) const REGION_MISSING: Text = Text::new(
    "no region",
    Exit::Usage,
    "add  --region eu-west-1",
    "Nothing was started, because queues and buckets belong to a region, and no region was named.",
    "Neither --region, AWS_REGION nor the profile sets a region, and the queue was not given as a URL or an ARN, which \
        both contain the region.",
    "Add --region, or give the queue by its URL.",
    "batchpipe run --queue jobs --region eu-west-1 --output s3://acme-out/gz/ --process gzip",
);

pub(super) const QUEUE_MISSING: Text = Text::new(
    "the queue does not exist, or its name can't be the name of a queue",
    Exit::Access,
    "check the name and the region; list the queues there are:  aws sqs list-queues",
    "Nothing was received. If the queue was deleted while a worker ran, the worker stopped.",
    "The name is misspelt, or the queue is in another region or account.",
    "List the queues of the region and compare the names. Give a queue of another account by its ARN or URL.",
    "aws sqs list-queues --region eu-west-1",
);

pub(super) const QUEUE_DENIED: Text = Text::new(
    "not allowed to use the queue",
    Exit::Access,
    "the role needs sqs:ReceiveMessage, DeleteMessage, ChangeMessageVisibility, GetQueueAttributes; \
        see ops/role.json",
    "The worker stopped receiving, because SQS would refuse every further request too. No message was lost.",
    "The role or the queue's policy lacks a permission. A worker needs sqs:ReceiveMessage, DeleteMessage, \
        ChangeMessageVisibility and GetQueueAttributes; submit needs SendMessage.",
    "Add the permission to the role. ops/role.json has the whole list; doctor names the missing permission.",
    "batchpipe doctor --queue jobs",
);

pub(super) const WRONG_REGION: Text = Text::new(
    "the bucket or the queue is in another region",
    Exit::Access,
    "add  --region  with the region it is in",
    "The job was given back to the queue and the worker stopped, because every job in this bucket would fail in the \
        same way.",
    "S3 redirects requests that reach the wrong region. batchpipe does not follow the redirects, because they cost a \
        round trip for every object.",
    "Run the worker in the bucket's region, or name the region.",
    "aws s3api get-bucket-location --bucket acme-out",
);

pub(super) const ACCESS_DENIED: Text = Text::new(
    "access denied",
    Exit::Access,
    "the role needs s3:GetObject and s3:ListBucket there (see ops/role.json); of local files, check \
        owner and mode",
    "The job was given back to the queue without counting as failed. The worker stopped receiving, because the next \
        job would be refused in the same way.",
    "The role, the bucket's policy, a KMS key policy or the owner of the object refuses the request. S3 also answers \
        \"denied\" for a missing object if the caller may not list the bucket. If objects next to it can be read, the \
        code is BP313 instead, and the worker does not stop.",
    "Let doctor find the missing permission, and add it to the role.",
    "batchpipe doctor --queue jobs --output s3://acme-out/gz/",
);

pub(super) const UNREACHABLE: Text = Text::new(
    "a service can't be reached or does not answer",
    Exit::Failed,
    "check the network, and the endpoint if one is set (--endpoint-url, AWS_ENDPOINT_URL)",
    "The request is retried after growing pauses. A job that keeps failing is given back to the queue and retried \
        later. map and submit stop after three unanswered attempts in a row, because somebody waits for them to end. \
        The same command resumes where it stopped.",
    "The cause is the network, a proxy, DNS or the service itself. If --endpoint-url or AWS_ENDPOINT_URL is set, the \
        local server may not be running.",
    "Start the server, or unset AWS_ENDPOINT_URL. Otherwise wait: nothing is lost meanwhile.",
    "batchpipe doctor --queue jobs",
);

pub(super) const CREDENTIALS_EXPIRED: Text = Text::new(
    "the credentials have expired",
    Exit::Credentials,
    "check the access key, the secret key and the session token; they must belong together",
    "The worker stopped receiving and gave its jobs back to the queue. No job is lost.",
    "Keys with a session token that were put into the environment can't be renewed. Credentials of a profile or a role \
        are renewed automatically.",
    "Use a profile or a role instead of pasted keys, or log in again.",
    "aws sso login --profile batch",
);

pub(super) const CLOCK_OFF: Text = Text::new(
    "the clock is off",
    Exit::Failed,
    "set the clock of the machine, and keep it right with NTP",
    "AWS refuses requests whose time differs from its own by more than five minutes.",
    "The machine's clock was never set, or a virtual machine was suspended.",
    "Set the clock by NTP.",
    "timedatectl set-ntp true",
);

pub(super) const COMMAND_LINE: Text = Text::new(
    "the command line can't be right",
    Exit::Usage,
    "see  batchpipe --help",
    "Nothing was started.",
    "An option is unknown or misspelt, or an option does not accept the value.",
    "Compare with the help of the command; options for a program go after `--`.",
    "batchpipe run --help",
);

pub(super) const PROGRAM_WITHOUT_INPUT: Text = Text::new(
    "the program does not get the name of its input file",
    Exit::Usage,
    "name {input} among the program's arguments, or let it read stdin",
    "Nothing was started, because every object would be sent to a program that does not read it.",
    "The program takes a file name, but no argument contains {input}.",
    "Name the input file with {input}. Without {input}, the object arrives on stdin.",
    "batchpipe map ./in ./out -- convert {input} -resize 800x {output}",
);

pub(super) const PROGRAM_NOT_FOUND: Text = Text::new(
    "the program was not found or can't be run",
    Exit::Usage,
    "check the program's name and PATH",
    "Nothing was started, because every job would fail.",
    "The program is not in PATH, is a folder, or may not be executed. A service manager's PATH is shorter than a \
        shell's.",
    "Give the full path of the program.",
    "command -v convert",
);

pub(super) const OUTPUT_AMONG_INPUTS: Text = Text::new(
    "the output is the input, or lies among the inputs",
    Exit::Usage,
    "choose an output that lies outside the inputs",
    "At the start, nothing was started. If a message names this output, the message moved to the dead-letter queue, \
        and the object is unchanged.",
    "Writing over the input destroys it. A result in the place of the inputs becomes a new job, whose result becomes a \
        new job, without end.",
    "Use another bucket or prefix, or an output suffix. If the event rule excludes the outputs, add \
        --allow-nested-output.",
    "batchpipe run --queue jobs --output s3://acme-out/gz/ --process gzip",
);

pub(super) const BUCKET_NOT_ALLOWED: Text = Text::new(
    "a message names a bucket that is not allowed",
    Exit::SomeFailed,
    "allow the bucket:  --allow s3://bucket/",
    "The message moved to the dead-letter queue; nothing was read or written there.",
    "The worker runs with --allow, and the place is under none of its prefixes. The dead letter has the code BP207, \
        which means the same refusal.",
    "If you trust the sender, allow the prefix and redrive the message. Otherwise find out who may send to the queue.",
    "batchpipe run --queue jobs --allow s3://acme-in/ --allow s3://other/ --process gzip",
);

pub(super) const METRICS_PORT_IN_USE: Text = Text::new(
    "the metrics port is in use",
    Exit::Usage,
    "choose another port:  --metrics-addr 127.0.0.1:9465",
    "Nothing was started.",
    "Another worker, or another program, listens on this port.",
    "Choose another port, or none. If several workers run on one machine, give each its own port.",
    "batchpipe run --queue jobs --metrics-addr 127.0.0.1:9465 --process gzip",
);

pub(super) const VISIBILITY_TIMEOUT: Text = Text::new(
    "the visibility timeout is out of range or too short",
    Exit::Usage,
    "give a time within the bounds that the cause names",
    "SQS accepts 0 to 43200 seconds. If the timeout is shorter than a few requests take, a message returns to the \
        queue before batchpipe can extend its lease.",
    "The value has no unit, or was meant for another option. Long jobs need no long timeout, because batchpipe extends \
        the timeout while they run.",
    "Leave it at the default of 60 seconds.",
    "batchpipe run --queue jobs --visibility-timeout 60s --process gzip",
);

pub(super) const CONFIGURATION: Text = Text::new(
    "the configuration file or a variable can't be right",
    Exit::Usage,
    "see what is set, and where:  batchpipe config explain",
    "Nothing was started. The error names the file and the line, or the variable.",
    "The file has an unknown key, a value has the wrong type, or the file is not TOML. Unknown keys are refused, \
        because a limit with a misspelt name would have no effect.",
    "Correct the line. The keys are the long options without their dashes.",
    "batchpipe config explain",
);

pub(super) const METRICS_ADDRESS_OPEN: Text = Text::new(
    "the metrics address is open to the network",
    Exit::Usage,
    "listen on 127.0.0.1, or add  --metrics-allow",
    "Nothing was started, because the status page has no password.",
    "The address is not a loopback address, and --metrics-allow was not given.",
    "Use 127.0.0.1, or add --metrics-allow if you trust everybody on the network.",
    "batchpipe run --queue jobs --metrics-addr 0.0.0.0:9464 --metrics-allow --process gzip",
);

pub(super) const SYSTEM_LIMIT: Text = Text::new(
    "the limit of open files or threads is too low",
    Exit::Failed,
    "raise the limits of threads and open files:  ulimit -a",
    "Nothing was started, because the connections and scratch files of all jobs would exceed the limit.",
    "Each job in flight has several open connections and, with {input} or {output}, open files.",
    "Raise the limit, or lower --concurrency.",
    "ulimit -n 65536",
);

pub(super) const BAD_PLACE_OR_STEP: Text = Text::new(
    "a place, a queue or a step of --process can't be read",
    Exit::Usage,
    "places are written  s3://bucket/prefix/  or as a path; see  batchpipe --help",
    "Nothing was started.",
    "A place is s3://bucket/prefix/, file:///dir/ or a path. A queue is a name, an ARN, an https:// URL or \
        sqlite:PATH. Steps are separated by commas, and a level or a format follows a colon.",
    "Use one of these forms. A program with its arguments goes after `--`.",
    "batchpipe map ./in ./out --process decompress,zstd:9",
);

pub(super) const MEMORY: Text = Text::new(
    "--memory is too small for one job, or too large for the machine",
    Exit::Usage,
    "give another  --memory , or a smaller --part-size",
    "Nothing was started, because batchpipe could not keep this limit.",
    "One job holds at least two parts in memory, so large parts need more --memory. And --memory can't be more than \
        the machine or its cgroup has.",
    "Give a share of the machine, or a smaller --part-size.",
    "batchpipe run --queue jobs --memory 50% --output s3://acme-out/gz/ --process gzip",
);

pub(super) const STDOUT_FAILED: Text = Text::new(
    "cannot write to stdout",
    Exit::Failed,
    "give stdout some room, and repeat the command",
    "The command ended. Work that was already done stays done.",
    "The disk that stdout goes to is full, or stdout was closed. If the reader of a pipe stops early, such as head, \
        this is no error.",
    "Send the output to another place and repeat the command.",
    "batchpipe status --queue jobs --json > /tmp/status.json",
);

pub(super) const NEEDS_YES: Text = Text::new(
    "the command needs confirmation",
    Exit::Usage,
    "add  --yes  if this is what you want",
    "Nothing was changed.",
    "The command changes or deletes data that can't be restored, and there is no terminal to ask for confirmation, or \
        the answer was no.",
    "Check the result with --dry-run first, then add --yes.",
    "batchpipe dlq purge --queue jobs --dry-run",
);

pub(super) const WRONG_JOURNAL: Text = Text::new(
    "the file is not a journal, or the journal belongs to another command",
    Exit::Usage,
    "name another with  --journal FILE , or do without:  --journal none",
    "Nothing was started, and the file is unchanged.",
    "--journal names a file that batchpipe did not make, or the journal of another source, destination or queue. With \
        another command's journal, files would count as submitted that never were. The cause names the command that \
        the journal belongs to, and this command.",
    "Name another file, or leave --journal out: every submit has its own journal. If a power failure left a journal of \
        zeros only, remove the file.",
    "batchpipe submit ./photos --input s3://acme-in/ --queue jobs --journal photos.journal",
);

pub(super) const OUTPUT_COLLISION: Text = Text::new(
    "two inputs would have the same output",
    Exit::Usage,
    "rename one of the inputs, or process them apart",
    "Nothing was started. The second output would have replaced the first, and both jobs would have been reported as \
        done. The error names both inputs.",
    "Steps that decompress remove the suffix of a name, so a.csv, a.csv.gz and a.csv.zst all become a.csv. In a list, \
        two names may mean the same key (etc/x and /etc/x). Some file systems treat A.csv and a.csv as the same name. \
        And in a directory, a name can't be both a file and a folder.",
    "Exclude one of the inputs with --exclude, process them with two commands and different outputs, or keep the \
        suffixes of names with --output-suffix.",
    "batchpipe map ./in ./out --process decompress --exclude '*.zst' --dry-run",
);

pub(super) const SECRET_IN_ADDRESS: Text = Text::new(
    "an address holds a user name, a password or a query",
    Exit::Usage,
    "take the secret out of the endpoint that is named above",
    "Nothing was started, and the password was not shown.",
    "The address of a server has the form http://user:password@host (or %40 instead of the @), or \
        http://host/?token=secret. Requests to S3 and SQS are signed with AWS keys and never carry the password, the \
        query or the fragment of an address. Such secrets would have no effect, but would appear in logs and process \
        lists.",
    "Remove the part before the @, and everything from the ? or the # on. Put keys into AWS_ACCESS_KEY_ID and \
        AWS_SECRET_ACCESS_KEY, or into a profile.",
    "batchpipe doctor --queue jobs --endpoint-url http://127.0.0.1:9000",
);

pub(super) const OUTPUT_UNUSED: Text = Text::new(
    "the worker's --output was not used",
    Exit::Done,
    "leave --output out, or leave the output out of the messages",
    "Nothing went wrong: every job is done, and its output is where its message says.",
    "Every message named its own output, which takes precedence over --output.",
    "Leave --output out, or let the sender name no output. To refuse messages that write to other places, add --allow.",
    "batchpipe explain @message.json",
);
