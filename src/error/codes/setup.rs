//! BP1xx: the command line, the configuration, the account. The person who set the worker up can fix these.

use super::Text;

pub(super) const CREDENTIALS_MISSING: Text = Text::new(
    "no AWS credentials found",
    "Nothing was started: without credentials no queue and no bucket can be reached.",
    "batchpipe looked in the environment, the profile, the container's role and the instance's role, in this order, \
        and found no key. Or --profile or AWS_PROFILE names a profile that does not exist, or one of the two key \
        variables is missing. If --profile, BATCHPIPE_PROFILE or the configuration file names a profile, only this \
        profile is used: neither keys in the environment nor a role of the machine replace it.",
    "Name a profile that has credentials, or run on a machine that has a role. Without AWS, `batchpipe map` can \
        process folders.",
    "batchpipe doctor --queue jobs --profile batch",
);

pub(super) const REGION_MISSING: Text = Text::new(
    "no region",
    "Nothing was started: every queue and bucket belongs to a region, and no region was named.",
    "Neither --region, AWS_REGION nor the profile sets a region, and the queue was not given as a URL or ARN, which \
        contain the region.",
    "Add --region, or name the queue by its URL.",
    "batchpipe run --queue jobs --region eu-west-1 --output s3://acme-out/gz/ --process gzip",
);

pub(super) const QUEUE_MISSING: Text = Text::new(
    "the queue does not exist, or its name can't be the name of a queue",
    "Nothing was received. If the queue was deleted while a worker ran, the worker stopped.",
    "The name is misspelt, or the queue is in another region or account.",
    "List the queues of the region and compare. Name a queue of another account by its ARN or URL.",
    "aws sqs list-queues --region eu-west-1",
);

pub(super) const QUEUE_DENIED: Text = Text::new(
    "not allowed to use the queue",
    "The worker stopped receiving, because every further request would be refused in the same way. No message was \
        lost.",
    "The role or the queue's policy lacks a permission. A worker needs sqs:ReceiveMessage, DeleteMessage, \
        ChangeMessageVisibility and GetQueueAttributes; submit needs SendMessage.",
    "Add the permission to the role. ops/role.json has the whole list; doctor names the missing permission.",
    "batchpipe doctor --queue jobs",
);

pub(super) const WRONG_REGION: Text = Text::new(
    "the bucket or the queue is in another region",
    "The job went back to the queue and the worker stopped, because every job in this bucket would fail in the same \
        way.",
    "S3 redirects requests that reach the wrong region. batchpipe does not follow, because this would cost a round \
        trip for every object.",
    "Run the worker in the bucket's region, or name the region.",
    "aws s3api get-bucket-location --bucket acme-out",
);

pub(super) const ACCESS_DENIED: Text = Text::new(
    "access denied",
    "The job went back to the queue and does not count as failed. The worker stopped receiving, because the next job \
        would be refused in the same way.",
    "The role, the bucket's policy or a KMS key policy refuses the request, or the object belongs to another account. \
        S3 also answers \"denied\" for a missing object if the role may not list the bucket; as long as other objects \
        beside it can be read, this is BP313 and the worker goes on.",
    "Let doctor find the missing permission, and add it to the role.",
    "batchpipe doctor --queue jobs --output s3://acme-out/gz/",
);

pub(super) const UNREACHABLE: Text = Text::new(
    "a service can't be reached or does not answer",
    "The request is tried again with growing pauses; a job that keeps failing goes back to the queue and is tried \
        later. map and submit stop when three jobs in a row could not reach the service, because somebody waits for \
        their end; run the same command again to continue.",
    "The network, a proxy, DNS or the service itself has failed. If --endpoint-url or AWS_ENDPOINT_URL is set, the \
        local server may not be running.",
    "Start the server, or unset AWS_ENDPOINT_URL. Otherwise wait: nothing is lost in the meantime.",
    "batchpipe doctor --queue jobs",
);

pub(super) const CREDENTIALS_EXPIRED: Text = Text::new(
    "the credentials have expired",
    "The worker stopped receiving and returned its jobs to the queue; no job is lost.",
    "Keys with a session token in environment variables can't be renewed. The keys of a profile or a role are renewed \
        automatically.",
    "Use a profile or a role instead of pasted keys, or log in again.",
    "aws sso login --profile batch",
);

pub(super) const CLOCK_OFF: Text = Text::new(
    "the clock is off",
    "AWS refuses requests whose time differs from its own time by more than five minutes.",
    "The machine's clock was never set, or the virtual machine was suspended.",
    "Let NTP set the clock.",
    "timedatectl set-ntp true",
);

pub(super) const COMMAND_LINE: Text = Text::new(
    "the command line can't be right",
    "Nothing was started.",
    "An option is unknown or misspelt, or it does not accept the value.",
    "Compare with the help of the command; options for a program go after `--`.",
    "batchpipe run --help",
);

pub(super) const PROGRAM_WITHOUT_INPUT: Text = Text::new(
    "the program does not get the name of its input file",
    "Nothing was started: each object would be sent to the stdin of a program that does not read stdin.",
    "The program takes a file name, but no argument contains {input}.",
    "Name the input file with {input}. Without it the object arrives on stdin.",
    "batchpipe map ./in ./out -- convert {input} -resize 800x {output}",
);

pub(super) const PROGRAM_NOT_FOUND: Text = Text::new(
    "the program was not found or can't be run",
    "Nothing was started: every job would fail.",
    "The program is not in PATH, is a folder, or lacks the permission to be executed. A service manager's PATH is \
        shorter than a shell's.",
    "Give the full path of the program.",
    "command -v convert",
);

pub(super) const OUTPUT_AMONG_INPUTS: Text = Text::new(
    "the output is the input, or lies among the inputs",
    "If the settings cause this, nothing was started. If a message causes this, the message moved to the dead letters, \
        and the object was not changed.",
    "An output in the place of the input would destroy the input, and a result among the inputs would become a new \
        job, endlessly.",
    "Use another bucket or prefix, or an output suffix. If the event rule excludes the output, add \
        --allow-nested-output.",
    "batchpipe run --queue jobs --output s3://acme-out/gz/ --process gzip",
);

pub(super) const BUCKET_NOT_ALLOWED: Text = Text::new(
    "a message names a bucket that is not allowed",
    "The message moved to the dead letters; nothing was read or written there.",
    "The worker runs with --allow, and the place is under none of its prefixes. The dead letter has the code BP207, \
        which is the same refusal.",
    "If you trust the sender, allow the prefix and redrive the message. Otherwise ask who may send to the queue.",
    "batchpipe run --queue jobs --allow s3://acme-in/ --allow s3://other/ --process gzip",
);

pub(super) const METRICS_PORT_IN_USE: Text = Text::new(
    "the metrics port is in use",
    "Nothing was started.",
    "Another worker, or another program, listens on this port.",
    "Choose another port, or none. Each worker on a machine needs a port of its own.",
    "batchpipe run --queue jobs --metrics-addr 127.0.0.1:9465 --process gzip",
);

pub(super) const VISIBILITY_TIMEOUT: Text = Text::new(
    "the visibility timeout is out of range or too short",
    "SQS accepts 0 to 43200 seconds. If the timeout is shorter than a few requests take, a message returns to the \
        queue before its lease can be extended.",
    "The value has no unit, or was meant for another setting. Long jobs need no long timeout, because the timeout is \
        extended while they run.",
    "Keep the default of 60 seconds.",
    "batchpipe run --queue jobs --visibility-timeout 60s --process gzip",
);

pub(super) const CONFIGURATION: Text = Text::new(
    "the configuration file or a variable can't be right",
    "Nothing was started; the message names the file and the line, or the variable.",
    "A key is unknown, a value has the wrong type, or the file is not TOML. Unknown keys are refused, because a \
        misspelt limit would not limit anything.",
    "Correct the line. The keys are the long options without their dashes.",
    "batchpipe config explain",
);

pub(super) const METRICS_ADDRESS_OPEN: Text = Text::new(
    "the metrics address is open to the network",
    "Nothing was started, because the status page has no password.",
    "The address is not a loopback address, and --metrics-allow was not given.",
    "Keep the address on 127.0.0.1, or add --metrics-allow if you trust the network.",
    "batchpipe run --queue jobs --metrics-addr 0.0.0.0:9464 --metrics-allow --process gzip",
);

pub(super) const SYSTEM_LIMIT: Text = Text::new(
    "the limit of open files or threads is too low",
    "Nothing was started: the connections and scratch files of all jobs would exceed the limit.",
    "Each job in flight needs several connections and, with {input} or {output}, files.",
    "Raise the limit, or lower --concurrency.",
    "ulimit -n 65536",
);

pub(super) const BAD_PLACE_OR_STEP: Text = Text::new(
    "a place, a queue or a step of --process can't be read",
    "Nothing was started.",
    "A place must be s3://bucket/prefix/, file:///dir/ or a path; a queue must be a name, an ARN, an https:// URL or \
        sqlite:PATH; steps must be separated by commas, with a level or a format after a colon.",
    "Write the value in one of these forms. A program with its arguments goes after `--`.",
    "batchpipe map ./in ./out --process decompress,zstd:9",
);

pub(super) const MEMORY: Text = Text::new(
    "--memory is too small for one job, or too large for the machine",
    "Nothing was started, because batchpipe could not keep this limit.",
    "One job holds at least two parts in memory, so larger parts need more memory; and the limit can't exceed the \
        memory of the machine or its cgroup.",
    "Give a percentage of the machine's memory, or a smaller --part-size.",
    "batchpipe run --queue jobs --memory 50% --output s3://acme-out/gz/ --process gzip",
);

pub(super) const STDOUT_FAILED: Text = Text::new(
    "cannot write to stdout",
    "The command ended; its work up to then remains done.",
    "The disk that stdout goes to is full, or stdout was closed. A reader that ends early, such as head, does not \
        cause this failure.",
    "Send stdout elsewhere and repeat the command.",
    "batchpipe status --queue jobs --json > /tmp/status.json",
);

pub(super) const NEEDS_YES: Text = Text::new(
    "the command needs confirmation",
    "Nothing was changed.",
    "The command would make changes that can't be undone, and there is no terminal to ask at, or the answer was no.",
    "First check with --dry-run what would be done, then add --yes.",
    "batchpipe dlq purge --queue jobs --dry-run",
);

pub(super) const WRONG_JOURNAL: Text = Text::new(
    "the file is not a journal, or the journal belongs to another command",
    "Nothing was started, and the file was not changed.",
    "--journal names a file that batchpipe did not make, or the journal of another source, destination or queue. With \
        a foreign journal, submit would skip files that were never submitted. The cause names what the journal \
        belongs to, and what this command needs.",
    "Name another file, or leave --journal out: every submit has a journal of its own. If a power failure filled the \
        journal with zeros, remove the file.",
    "batchpipe submit ./photos --input s3://acme-in/ --queue jobs --journal photos.journal",
);

pub(super) const OUTPUT_COLLISION: Text = Text::new(
    "two inputs would have the same output",
    "Nothing was started: the second output would replace the first, and both jobs would be reported as done. The \
        error names both inputs.",
    "Steps that decompress remove the ending of a name, so a.csv, a.csv.gz and a.csv.zst all become a.csv. In a list, \
        two names may be the same key (etc/x and /etc/x). Some file systems treat A.csv and a.csv as the same name, \
        and no directory can have a file and a folder of the same name.",
    "Leave one of the inputs out with --exclude, process them in two commands with different outputs, or keep the \
        endings of names with --output-suffix.",
    "batchpipe map ./in ./out --process decompress --exclude '*.zst' --dry-run",
);

pub(super) const SECRET_IN_ADDRESS: Text = Text::new(
    "an address holds a user name, a password or a query",
    "Nothing was started, and the password was not shown.",
    "The address of a server is written as http://user:password@host (or with %40 instead of @), or as \
        http://host/?token=secret. Requests to S3 and SQS are signed with the AWS keys and contain neither the \
        password, the query nor the fragment of the address. These parts would have no effect and would only appear \
        in logs and process lists.",
    "Remove everything up to the @, and everything from the ? or the # on. Put keys in AWS_ACCESS_KEY_ID and \
        AWS_SECRET_ACCESS_KEY, or in a profile.",
    "batchpipe doctor --queue jobs --endpoint-url http://127.0.0.1:9000",
);

pub(super) const OUTPUT_UNUSED: Text = Text::new(
    "the worker's --output was not used",
    "Nothing went wrong: every job is done, and its output is at the place that its message names.",
    "Every message named its own output, and the output in a message takes precedence over --output.",
    "Leave --output out, or let the sender leave the output out of its messages. To refuse messages that write \
        elsewhere, add --allow.",
    "batchpipe explain @message.json",
);
