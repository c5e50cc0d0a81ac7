//! BP4xx the processor, BP5xx the machine, BP6xx leases and links, BP7xx the watchdog.

use super::Page;

pub(super) const PAGES: &[Page] = &[
    Page::new(
        400,
        "the processor rejected the input",
        "The message moved to the dead letters and nothing was published. Trying again can't help, the processor says.",
        "The program ended with a status that means \"this input is bad\" (64 to 78 but 75, or one of \
        --reject-codes), or a library processor returned Reject.",
        "Read what the processor said, and try the object by hand.",
        "batchpipe dlq show MESSAGE --download",
    ),
    Page::new(
        401,
        "the program failed",
        "The job is tried again, and goes to the dead letters when it was received too often. Nothing was published.",
        "The program ended with a status other than 0, or by a signal. The last of what it wrote to stderr is the \
        cause.",
        "Try it by hand on the same object. If some status means that the input is bad, name it in --reject-codes.",
        "batchpipe dlq show MESSAGE --download",
    ),
    Page::new(
        402,
        "the processor panicked",
        "The job is tried again; the worker and its other jobs go on. Nothing was published.",
        "A fault in the processor's code that this input brings out.",
        "Report it to whoever wrote the processor, with the object.",
        "batchpipe dlq show MESSAGE --download",
    ),
    Page::new(
        403,
        "the job took too long",
        "It was stopped with all its processes, and is tried again. Nothing was published.",
        "The program hangs, or the object is larger than --job-timeout was made for.",
        "Raise --job-timeout, or find out what the program waits for; it has no terminal, and stdin ends with the \
        object.",
        "batchpipe run --queue jobs --job-timeout 2h --output s3://acme-out/gz/ --process xz",
    ),
    Page::new(
        404,
        "the program left no output file",
        "The job is tried again. Nothing was published.",
        "The program ended with status 0, but there is no file where {output} said.",
        "Let the program write to {output}, or leave {output} out and write to stdout.",
        "batchpipe map ./in ./out -- cp {input} {output}",
    ),
    Page::new(
        405,
        "the program could not be started",
        "The job is tried again.",
        "The program vanished since the worker started, its arguments are too long, or the machine has no room for \
        another process.",
        "See that the program is there, and how many processes and how much memory are free.",
        "command -v convert",
    ),
    Page::new(
        501,
        "no space left in the work directory",
        "The job was given back, not failed, and receiving is paused until there is space.",
        "Programs with {input} or {output} need room for the whole object, for every job in flight.",
        "Use a larger disk, lower --concurrency, or a program that reads stdin and writes stdout: it needs no disk.",
        "batchpipe run --queue jobs --work-dir /mnt/big -- cp {input} {output}",
    ),
    Page::new(
        601,
        "the lease of a message was lost",
        "The job was stopped before it published anything. Another worker has it, or will have it; nothing is lost.",
        "The machine was asleep or out of CPU for longer than the visibility timeout, the queue could not be reached \
        for that long, or the message was purged.",
        "Nothing, if it is rare. Otherwise lower --processors, or raise --visibility-timeout.",
        "batchpipe run --queue jobs --visibility-timeout 5m --output s3://acme-out/gz/ --process gzip",
    ),
    Page::new(
        602,
        "a stage ended because its neighbour did",
        "The echo of another failure of the same job, which is the one to look at. The job is tried again.",
        "Stages are joined by links, and a link that breaks stops both of its ends.",
        "Look for the error before it in the log.",
        "batchpipe run --queue jobs -v --output s3://acme-out/gz/ --process gzip",
    ),
    Page::new(
        701,
        "no progress for 60 seconds",
        "The worker ended with exit code 7 and told what every stage waited for. Its messages return to the queue by \
        themselves.",
        "A fault in batchpipe: with jobs to do and nothing else wrong, something must move.",
        "Start it again, and report the dump of the stages.",
        "batchpipe --version",
    ),
];
