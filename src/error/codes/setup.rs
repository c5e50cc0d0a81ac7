//! BP1xx: the command line, the configuration, the account. Whoever set the worker up can act.

use super::Text;
use crate::error::Exit;

pub(super) const CREDENTIALS_MISSING: Text = Text::new(
    "no AWS credentials found",
    Exit::Credentials,
    "set AWS_PROFILE=<name>, or run on a machine with a role",
    "Nothing was started: without credentials no queue and no bucket can be reached.",
    "The environment, the profile, the container's role and the instance's role were asked in this order, and \
        none gave a key. Or --profile or AWS_PROFILE names a profile that does not exist, or one of the two key \
        variables is missing. A profile that --profile, BATCHPIPE_PROFILE or the file names is used and nothing else: \
        neither keys in the environment nor a role of the machine take its place.",
    "Name a profile that has credentials, or run on a machine that has a role. Without AWS, `batchpipe map` works on \
        folders.",
    "batchpipe doctor --queue jobs --profile batch",
);

pub(super) const REGION_MISSING: Text = Text::new(
    "no region",
    Exit::Usage,
    "add  --region eu-west-1",
    "Nothing was started: queues and buckets live in a region, and none was named.",
    "Neither --region, AWS_REGION nor the profile sets one, and the queue was not given as a URL or ARN, which \
        hold it.",
    "Add --region, or give the queue by its URL.",
    "batchpipe run --queue jobs --region eu-west-1 --output s3://acme-out/gz/ --process gzip",
);

pub(super) const QUEUE_MISSING: Text = Text::new(
    "the queue does not exist or its name can't be one",
    Exit::Access,
    "check the name and the region; list the queues there are:  aws sqs list-queues",
    "Nothing was received. If the queue was deleted while a worker ran, the worker stopped.",
    "The name is misspelt, or the queue is in another region or account.",
    "List the queues of the region and compare. A queue of another account is given by its ARN or URL.",
    "aws sqs list-queues --region eu-west-1",
);

pub(super) const QUEUE_DENIED: Text = Text::new(
    "not allowed to use the queue",
    Exit::Access,
    "the role needs sqs:ReceiveMessage, DeleteMessage, ChangeMessageVisibility, GetQueueAttributes; \
        see ops/role.json",
    "The worker stopped receiving: every further request would be refused in the same way. No message was lost.",
    "The role or the queue's policy lacks a right. A worker needs sqs:ReceiveMessage, DeleteMessage, \
        ChangeMessageVisibility and GetQueueAttributes; submit needs SendMessage.",
    "Add the right to the role. ops/role.json has the whole list; doctor names the one that is missing.",
    "batchpipe doctor --queue jobs",
);

pub(super) const WRONG_REGION: Text = Text::new(
    "the bucket or the queue is in another region",
    Exit::Access,
    "add  --region  with the region it is in",
    "The job was given back and the worker stopped: every job in this bucket would fail in the same way.",
    "S3 redirects requests that reach the wrong region, and following costs a round trip for every object.",
    "Run the worker in the bucket's region, or name the region.",
    "aws s3api get-bucket-location --bucket acme-out",
);

pub(super) const ACCESS_DENIED: Text = Text::new(
    "access denied",
    Exit::Access,
    "the role needs s3:GetObject and s3:ListBucket there (see ops/role.json); of local files, check \
        owner and mode",
    "The job was given back, not failed, and the worker stopped receiving: the next job would be refused in the \
        same way.",
    "The role, the bucket's policy, a key policy of KMS or an object of another owner refuses the request. S3 \
        also says this of a missing object to whoever may not list the bucket; while objects beside it can be read, \
        that is BP313 and stops nobody.",
    "Let doctor find the missing right, and add it to the role.",
    "batchpipe doctor --queue jobs --output s3://acme-out/gz/",
);

pub(super) const UNREACHABLE: Text = Text::new(
    "a service can't be reached or does not answer",
    Exit::Failed,
    "check the network, and the endpoint if one is set (--endpoint-url, AWS_ENDPOINT_URL)",
    "The request is tried again with growing pauses; a job that keeps failing is given back and tried later. map and \
        submit, whose end somebody waits for, stop when three in a row found nobody there; the same command goes on \
        where it was.",
    "The network, a proxy, DNS or the service itself. With --endpoint-url or AWS_ENDPOINT_URL set, a local server \
        that is not running.",
    "Start the server, or unset AWS_ENDPOINT_URL. Otherwise wait: nothing is lost meanwhile.",
    "batchpipe doctor --queue jobs",
);

pub(super) const CREDENTIALS_EXPIRED: Text = Text::new(
    "the credentials have expired",
    Exit::Credentials,
    "check the access key, the secret key and the session token; they must belong together",
    "The worker stopped receiving and gave its jobs back; none is lost.",
    "Keys with a session token that were put into the environment can't be renewed. Those of a profile or a role \
        renew themselves.",
    "Use a profile or a role instead of pasted keys, or log in again.",
    "aws sso login --profile batch",
);

pub(super) const CLOCK_OFF: Text = Text::new(
    "the clock is off",
    Exit::Failed,
    "set the clock of the machine, and keep it right with NTP",
    "AWS refuses requests whose time differs from its own by more than five minutes.",
    "The machine's clock was never set, or a virtual machine was asleep.",
    "Set the clock by NTP.",
    "timedatectl set-ntp true",
);

pub(super) const COMMAND_LINE: Text = Text::new(
    "the command line can't be right",
    Exit::Usage,
    "see  batchpipe --help",
    "Nothing was started.",
    "An option is unknown or misspelt, or a value is not one that it takes.",
    "Compare with the help of the command; options for a program go after `--`.",
    "batchpipe run --help",
);

pub(super) const PROGRAM_WITHOUT_INPUT: Text = Text::new(
    "the program is not told where its input is",
    Exit::Usage,
    "name {input} among the program's arguments, or let it read stdin",
    "Nothing was started: every object would be sent to a program that does not read it.",
    "The program takes a file name, but no argument holds {input}.",
    "Name the input file with {input}. Without it the object arrives on stdin.",
    "batchpipe map ./in ./out -- convert {input} -resize 800x {output}",
);

pub(super) const PROGRAM_NOT_FOUND: Text = Text::new(
    "the program was not found or can't be run",
    Exit::Usage,
    "check the program's name and PATH",
    "Nothing was started: every job would fail.",
    "It is not in PATH, is a folder, or lacks the right to be executed. A service manager's PATH is shorter than \
        a shell's.",
    "Give the full path of the program.",
    "command -v convert",
);

pub(super) const OUTPUT_AMONG_INPUTS: Text = Text::new(
    "the output is the input, or lies among the inputs",
    Exit::Usage,
    "choose an output that lies outside the inputs",
    "At the start: nothing was started. In a message: it moved to the dead letters, and the object is as it was.",
    "Writing over the input destroys it, and a result that lands where inputs are becomes a new job, for ever.",
    "Use another bucket or prefix, or an output suffix. If the event rule leaves the output out, add \
        --allow-nested-output.",
    "batchpipe run --queue jobs --output s3://acme-out/gz/ --process gzip",
);

pub(super) const BUCKET_NOT_ALLOWED: Text = Text::new(
    "a message names a bucket that is not allowed",
    Exit::SomeFailed,
    "allow the bucket:  --allow s3://bucket/",
    "The message moved to the dead letters; nothing was read or written there.",
    "The worker runs with --allow, and the place is under none of its prefixes. The dead letter holds BP207, the \
        same refusal.",
    "If you trust the sender, allow the prefix and redrive the message. Otherwise ask who may send to the queue.",
    "batchpipe run --queue jobs --allow s3://acme-in/ --allow s3://other/ --process gzip",
);

pub(super) const METRICS_PORT_IN_USE: Text = Text::new(
    "the metrics port is in use",
    Exit::Usage,
    "choose another port:  --metrics-addr 127.0.0.1:9465",
    "Nothing was started.",
    "Another worker, or another program, listens there.",
    "Choose another port, or none. Several workers on one machine need one each.",
    "batchpipe run --queue jobs --metrics-addr 127.0.0.1:9465 --process gzip",
);

pub(super) const VISIBILITY_TIMEOUT: Text = Text::new(
    "the visibility timeout is out of range or too short",
    Exit::Usage,
    "give a time within the bounds that the cause names",
    "SQS takes 0 to 43200 seconds. Below the time of a few requests a message returns to the queue before its \
        lease is extended.",
    "A number without a unit, or one meant for something else. Long jobs need no long timeout: it is extended \
        while they run.",
    "Leave it at the default of 60 seconds.",
    "batchpipe run --queue jobs --visibility-timeout 60s --process gzip",
);

pub(super) const CONFIGURATION: Text = Text::new(
    "the configuration file or a variable can't be right",
    Exit::Usage,
    "see what is set, and where:  batchpipe config explain",
    "Nothing was started; the message names the file and the line, or the variable.",
    "An unknown key, a value of the wrong type, or a file that is not TOML. Unknown keys are refused: a misspelt \
        limit would be no limit.",
    "Correct the line. The keys are the long options without their dashes.",
    "batchpipe config explain",
);

pub(super) const METRICS_ADDRESS_OPEN: Text = Text::new(
    "the metrics address is open to the network",
    Exit::Usage,
    "listen on 127.0.0.1, or add  --metrics-allow",
    "Nothing was started: the page has no password.",
    "The address is not a loopback one, and nobody said that this is meant.",
    "Keep it on 127.0.0.1, or add --metrics-allow if the network is yours.",
    "batchpipe run --queue jobs --metrics-addr 0.0.0.0:9464 --metrics-allow --process gzip",
);

pub(super) const SYSTEM_LIMIT: Text = Text::new(
    "the limit of open files or threads is too low",
    Exit::Failed,
    "raise the limits of threads and open files:  ulimit -a",
    "Nothing was started: connections and scratch files of all jobs would not fit.",
    "Each job in flight holds several connections and, with {input} or {output}, files.",
    "Raise the limit, or lower --concurrency.",
    "ulimit -n 65536",
);

pub(super) const BAD_PLACE_OR_STEP: Text = Text::new(
    "a place, a queue or a step of --process can't be read",
    Exit::Usage,
    "places are written  s3://bucket/prefix/  or as a path; see  batchpipe --help",
    "Nothing was started.",
    "A place is s3://bucket/prefix/, file:///dir/ or a path; a queue is a name, an ARN, an https:// URL or \
        sqlite:PATH; steps are separated by commas, with a level or a format after a colon.",
    "Write it in one of these forms. A program with its arguments goes after `--`.",
    "batchpipe map ./in ./out --process decompress,zstd:9",
);

pub(super) const MEMORY: Text = Text::new(
    "--memory does not fit one job, or not the machine",
    Exit::Usage,
    "give another  --memory , or a smaller --part-size",
    "Nothing was started: a limit that can't be kept is no limit.",
    "One job holds at least two parts, so large parts need more memory; and no more can be given than the machine \
        or its cgroup has.",
    "Give a share of the machine, or a smaller --part-size.",
    "batchpipe run --queue jobs --memory 50% --output s3://acme-out/gz/ --process gzip",
);

pub(super) const STDOUT_FAILED: Text = Text::new(
    "cannot write to stdout",
    Exit::Failed,
    "give stdout some room, and repeat the command",
    "The command ended; what it had done by then stays done.",
    "The disk that stdout goes to is full, or it was closed. A reader that had enough, such as head, is no \
        failure.",
    "Send the output elsewhere and repeat the command.",
    "batchpipe status --queue jobs --json > /tmp/status.json",
);

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
    "Steps that decompress take the ending off a name, so a.csv, a.csv.gz and a.csv.zst all become a.csv. In a list \
    two names may be one key (etc/x and /etc/x). Some file systems take A.csv and a.csv for one name, and in any \
    directory a name is that of a file or of a folder.",
    "Leave one of them out with --exclude, work on them in two commands with different outputs, or keep the endings of \
        names with --output-suffix.",
    "batchpipe map ./in ./out --process decompress --exclude '*.zst' --dry-run",
);

pub(super) const SECRET_IN_ADDRESS: Text = Text::new(
    "an address holds a user name, a password or a query",
    Exit::Usage,
    "take the secret out of the endpoint that is named above",
    "Nothing was started, and the password was not shown.",
    "The address of a server is written as http://user:password@host (or with %40 for the @), or as \
    http://host/?token=secret. Requests to S3 and SQS are signed with the keys of AWS and carry no password, no query \
    and no fragment of the address, so that these would do nothing but stand in logs and process lists.",
    "Leave out what stands before the @, and from the ? or the # on. Keys belong in AWS_ACCESS_KEY_ID and \
    AWS_SECRET_ACCESS_KEY, or in a profile.",
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
