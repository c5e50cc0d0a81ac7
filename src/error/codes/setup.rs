//! BP1xx: the command line, the configuration, the account. Whoever set the worker up can act.

use super::Text;
use crate::error::Exit;

pub(super) const CREDENTIALS_MISSING: Text = Text {
    title: "no AWS credentials found",
    exit: Exit::Credentials,
    help: "set AWS_PROFILE=<name>, or run on a machine with a role",
    meaning: "Nothing was started, because queues and buckets can't be reached without credentials.",
    why: "batchpipe asked the environment, the profile, the container's role and the instance's role, in this order, \
        and none gave a key. Or --profile or AWS_PROFILE names a profile that does not exist, or one of the two key \
        variables is missing. If --profile, BATCHPIPE_PROFILE or the file names a profile, batchpipe uses only this \
        profile: neither keys in the environment nor a role of the machine replace it.",
    fix: "Name a profile that has credentials, or run on a machine that has a role. Without AWS, `batchpipe map` works \
        on folders.",
    example: "batchpipe doctor --queue jobs --profile batch",
};

pub(super) const REGION_MISSING: Text = Text {
    title: "no region",
    exit: Exit::Usage,
    help: "add  --region eu-west-1",
    meaning: "Nothing was started, because queues and buckets belong to a region, and no region was named.",
    why: "Neither --region, AWS_REGION nor the profile sets a region, and the queue was not given as a URL or an ARN, \
        which both contain the region.",
    fix: "Add --region, or give the queue by its URL.",
    example: "batchpipe run --queue jobs --region eu-west-1 --output s3://acme-out/gz/ --process gzip",
};

pub(super) const QUEUE_MISSING: Text = Text {
    title: "the queue does not exist, or its name can't be the name of a queue",
    exit: Exit::Access,
    help: "check the name and the region; list the queues there are:  aws sqs list-queues",
    meaning: "Nothing was received. If the queue was deleted while a worker ran, the worker stopped.",
    why: "The name is misspelt, or the queue is in another region or account.",
    fix: "List the queues of the region and compare the names. Give a queue of another account by its ARN or URL.",
    example: "aws sqs list-queues --region eu-west-1",
};

pub(super) const QUEUE_DENIED: Text = Text {
    title: "not allowed to use the queue",
    exit: Exit::Access,
    help: "the role needs sqs:ReceiveMessage, DeleteMessage, ChangeMessageVisibility, GetQueueAttributes; see \
        ops/role.json",
    meaning: "The worker stopped receiving, because SQS would refuse every further request too. No message was lost.",
    why: "The role or the queue's policy lacks a permission. A worker needs sqs:ReceiveMessage, DeleteMessage, \
        ChangeMessageVisibility and GetQueueAttributes; submit needs SendMessage.",
    fix: "Add the permission to the role. ops/role.json has the whole list; doctor names the missing permission.",
    example: "batchpipe doctor --queue jobs",
};

pub(super) const WRONG_REGION: Text = Text {
    title: "the bucket or the queue is in another region",
    exit: Exit::Access,
    help: "add  --region  with the region it is in",
    meaning: "The job was given back to the queue and the worker stopped, because every job in this bucket would fail \
        in the same way.",
    why: "S3 redirects requests that reach the wrong region. batchpipe does not follow the redirects, because they \
        cost a round trip for every object.",
    fix: "Run the worker in the bucket's region, or name the region.",
    example: "aws s3api get-bucket-location --bucket acme-out",
};

pub(super) const ACCESS_DENIED: Text = Text {
    title: "access denied",
    exit: Exit::Access,
    help: "the role needs s3:GetObject and s3:ListBucket there (see ops/role.json); of local files, check owner and \
        mode",
    meaning: "The job was given back to the queue without counting as failed. The worker stopped receiving, because \
        the next job would be refused in the same way.",
    why: "The role, the bucket's policy, a KMS key policy or the owner of the object refuses the request. S3 also \
        answers \"denied\" for a missing object if the caller may not list the bucket. If objects next to it can be \
        read, the code is BP313 instead, and the worker does not stop.",
    fix: "Let doctor find the missing permission, and add it to the role.",
    example: "batchpipe doctor --queue jobs --output s3://acme-out/gz/",
};

pub(super) const UNREACHABLE: Text = Text {
    title: "a service can't be reached or does not answer",
    exit: Exit::Failed,
    help: "check the network, and the endpoint if one is set (--endpoint-url, AWS_ENDPOINT_URL)",
    meaning: "The request is retried after growing pauses. A job that keeps failing is given back to the queue and \
        retried later. map and submit stop after three unanswered attempts in a row, because somebody waits for them \
        to end. The same command resumes where it stopped.",
    why: "The cause is the network, a proxy, DNS or the service itself. If --endpoint-url or AWS_ENDPOINT_URL is set, \
        the local server may not be running.",
    fix: "Start the server, or unset AWS_ENDPOINT_URL. Otherwise wait: nothing is lost meanwhile.",
    example: "batchpipe doctor --queue jobs",
};

pub(super) const CREDENTIALS_EXPIRED: Text = Text {
    title: "the credentials have expired",
    exit: Exit::Credentials,
    help: "check the access key, the secret key and the session token; they must belong together",
    meaning: "The worker stopped receiving and gave its jobs back to the queue. No job is lost.",
    why: "Keys with a session token that were put into the environment can't be renewed. Credentials of a profile or a \
        role are renewed automatically.",
    fix: "Use a profile or a role instead of pasted keys, or log in again.",
    example: "aws sso login --profile batch",
};

pub(super) const CLOCK_OFF: Text = Text {
    title: "the clock is off",
    exit: Exit::Failed,
    help: "set the clock of the machine, and keep it right with NTP",
    meaning: "AWS refuses requests whose time differs from its own by more than five minutes.",
    why: "The machine's clock was never set, or a virtual machine was suspended.",
    fix: "Set the clock by NTP.",
    example: "timedatectl set-ntp true",
};

pub(super) const COMMAND_LINE: Text = Text {
    title: "the command line can't be right",
    exit: Exit::Usage,
    help: "see  batchpipe --help",
    meaning: "Nothing was started.",
    why: "An option is unknown or misspelt, or an option does not accept the value.",
    fix: "Compare with the help of the command; options for a program go after `--`.",
    example: "batchpipe run --help",
};

pub(super) const PROGRAM_WITHOUT_INPUT: Text = Text {
    title: "the program does not get the name of its input file",
    exit: Exit::Usage,
    help: "name {input} among the program's arguments, or let it read stdin",
    meaning: "Nothing was started, because every object would be sent to a program that does not read it.",
    why: "The program takes a file name, but no argument contains {input}.",
    fix: "Name the input file with {input}. Without {input}, the object arrives on stdin.",
    example: "batchpipe map ./in ./out -- convert {input} -resize 800x {output}",
};

pub(super) const PROGRAM_NOT_FOUND: Text = Text {
    title: "the program was not found or can't be run",
    exit: Exit::Usage,
    help: "check the program's name and PATH",
    meaning: "Nothing was started, because every job would fail.",
    why: "The program is not in PATH, is a folder, or may not be executed. A service manager's PATH is shorter than a \
        shell's.",
    fix: "Give the full path of the program.",
    example: "command -v convert",
};

pub(super) const OUTPUT_AMONG_INPUTS: Text = Text {
    title: "the output is the input, or lies among the inputs",
    exit: Exit::Usage,
    help: "choose an output that lies outside the inputs",
    meaning: "At the start, nothing was started. If a message names this output, the message moved to the dead-letter \
        queue, and the object is unchanged.",
    why: "Writing over the input destroys it. A result in the place of the inputs becomes a new job, whose result \
        becomes a new job, without end.",
    fix: "Use another bucket or prefix, or an output suffix. If the event rule excludes the outputs, add \
        --allow-nested-output.",
    example: "batchpipe run --queue jobs --output s3://acme-out/gz/ --process gzip",
};

pub(super) const BUCKET_NOT_ALLOWED: Text = Text {
    title: "a message names a bucket that is not allowed",
    exit: Exit::SomeFailed,
    help: "allow the bucket:  --allow s3://bucket/",
    meaning: "The message moved to the dead-letter queue; nothing was read or written there.",
    why: "The worker runs with --allow, and the place is under none of its prefixes. The dead letter has the code \
        BP207, which means the same refusal.",
    fix: "If you trust the sender, allow the prefix and redrive the message. Otherwise find out who may send to the \
        queue.",
    example: "batchpipe run --queue jobs --allow s3://acme-in/ --allow s3://other/ --process gzip",
};

pub(super) const METRICS_PORT_IN_USE: Text = Text {
    title: "the metrics port is in use",
    exit: Exit::Usage,
    help: "choose another port:  --metrics-addr 127.0.0.1:9465",
    meaning: "Nothing was started.",
    why: "Another worker, or another program, listens on this port.",
    fix: "Choose another port, or none. If several workers run on one machine, give each its own port.",
    example: "batchpipe run --queue jobs --metrics-addr 127.0.0.1:9465 --process gzip",
};

pub(super) const VISIBILITY_TIMEOUT: Text = Text {
    title: "the visibility timeout is out of range or too short",
    exit: Exit::Usage,
    help: "give a time within the bounds that the cause names",
    meaning: "SQS accepts 0 to 43200 seconds. If the timeout is shorter than a few requests take, a message returns to \
        the queue before batchpipe can extend its lease.",
    why: "The value has no unit, or was meant for another option. Long jobs need no long timeout, because batchpipe \
        extends the timeout while they run.",
    fix: "Leave it at the default of 60 seconds.",
    example: "batchpipe run --queue jobs --visibility-timeout 60s --process gzip",
};

pub(super) const CONFIGURATION: Text = Text {
    title: "the configuration file or a variable can't be right",
    exit: Exit::Usage,
    help: "see what is set, and where:  batchpipe config explain",
    meaning: "Nothing was started. The error names the file and the line, or the variable.",
    why: "The file has an unknown key, a value has the wrong type, or the file is not TOML. Unknown keys are refused, \
        because a limit with a misspelt name would have no effect.",
    fix: "Correct the line. The keys are the long options without their dashes.",
    example: "batchpipe config explain",
};

pub(super) const METRICS_ADDRESS_OPEN: Text = Text {
    title: "the metrics address is open to the network",
    exit: Exit::Usage,
    help: "listen on 127.0.0.1, or add  --metrics-allow",
    meaning: "Nothing was started, because the status page has no password.",
    why: "The address is not a loopback address, and --metrics-allow was not given.",
    fix: "Use 127.0.0.1, or add --metrics-allow if you trust everybody on the network.",
    example: "batchpipe run --queue jobs --metrics-addr 0.0.0.0:9464 --metrics-allow --process gzip",
};

pub(super) const SYSTEM_LIMIT: Text = Text {
    title: "the limit of open files or threads is too low",
    exit: Exit::Failed,
    help: "raise the limits of threads and open files:  ulimit -a",
    meaning: "Nothing was started, because the connections and scratch files of all jobs would exceed the limit.",
    why: "Each job in flight has several open connections and, with {input} or {output}, open files.",
    fix: "Raise the limit, or lower --concurrency.",
    example: "ulimit -n 65536",
};

pub(super) const BAD_PLACE_OR_STEP: Text = Text {
    title: "a place, a queue or a step of --process can't be read",
    exit: Exit::Usage,
    help: "places are written  s3://bucket/prefix/  or as a path; see  batchpipe --help",
    meaning: "Nothing was started.",
    why: "A place is s3://bucket/prefix/, file:///dir/ or a path. A queue is a name, an ARN, an https:// URL or \
        sqlite:PATH. Steps are separated by commas, and a level or a format follows a colon.",
    fix: "Use one of these forms. A program with its arguments goes after `--`.",
    example: "batchpipe map ./in ./out --process decompress,zstd:9",
};

pub(super) const MEMORY: Text = Text {
    title: "--memory is too small for one job, or too large for the machine",
    exit: Exit::Usage,
    help: "give another  --memory , or a smaller --part-size",
    meaning: "Nothing was started, because batchpipe could not keep this limit.",
    why: "One job holds at least two parts in memory, so large parts need more --memory. And --memory can't be more \
        than the machine or its cgroup has.",
    fix: "Give a share of the machine, or a smaller --part-size.",
    example: "batchpipe run --queue jobs --memory 50% --output s3://acme-out/gz/ --process gzip",
};

pub(super) const STDOUT_FAILED: Text = Text {
    title: "cannot write to stdout",
    exit: Exit::Failed,
    help: "give stdout some room, and repeat the command",
    meaning: "The command ended. Work that was already done stays done.",
    why: "The disk that stdout goes to is full, or stdout was closed. If the reader of a pipe stops early, such as \
        head, this is no error.",
    fix: "Send the output to another place and repeat the command.",
    example: "batchpipe status --queue jobs --json > /tmp/status.json",
};
