//! BP4xx the processor, BP5xx the machine, BP6xx leases and links, BP7xx the watchdog.

use super::Text;
use crate::error::Exit;

pub(super) const PROCESSOR_FAILED: Text = Text {
    title: "a library user's processor rejected the input or failed",
    exit: Exit::SomeFailed,
    help: "read what the processor said, and try the object by hand",
    meaning: "Nothing was published. If the processor rejected the job, the message moved to the dead-letter queue; \
        otherwise the job is retried.",
    why: "The processor returned Reject (this input will always fail) or Retry (a later attempt may succeed). The \
        cause has its reason.",
    fix: "Read the processor's reason, and try the object by hand.",
    example: "batchpipe dlq show MESSAGE --download",
};

pub(super) const PROGRAM_FAILED: Text = Text {
    title: "the program failed",
    exit: Exit::SomeFailed,
    help: "try the program by hand on the same object",
    meaning: "Nothing was published. An exit status that means \"this input is bad\" (64 to 78 except 75, or one of \
        --reject-codes) moves the message to the dead-letter queue. After any other status the job is retried.",
    why: "The program exited with a status other than 0, was ended by a signal, could not be started, or left a \
        process running that holds its stdout open. The cause is the end of the program's stderr.",
    fix: "Run the program by hand on the same object. If one of its statuses means that the input is bad, name the \
        status in --reject-codes.",
    example: "batchpipe dlq show MESSAGE --download",
};

pub(super) const PROGRAM_OUTPUT_MISSING: Text = Text {
    title: "the program left no output",
    exit: Exit::SomeFailed,
    help: "let the program write to {output}, or to stdout",
    meaning: "If the file named by {output} is missing, nothing was published and the job is retried. An empty file or \
        an empty stdout is published, because an empty output may be right. batchpipe warns about the first empty \
        output, and reports their number at the end.",
    why: "The program exited with status 0, but the file named by {output} does not exist. Or the input is not empty \
        and the program wrote nothing: it may write to another place, which batchpipe does not see.",
    fix: "Let the program write to {output}, or leave {output} out and write to stdout.",
    example: "batchpipe map ./in ./out -- cp {input} {output}",
};

pub(super) const PROCESSOR_PANICKED: Text = Text {
    title: "the processor panicked",
    exit: Exit::SomeFailed,
    help: "report it to whoever wrote the processor, with the object",
    meaning: "Nothing was published. The job is retried; the worker and its other jobs go on.",
    why: "This input triggers a bug in the processor's code.",
    fix: "Report the bug to the author of the processor, with the object.",
    example: "batchpipe dlq show MESSAGE --download",
};

pub(super) const JOB_TIMED_OUT: Text = Text {
    title: "the job took too long",
    exit: Exit::SomeFailed,
    help: "raise --job-timeout, or find out what the program waits for",
    meaning: "Nothing was published. The job was stopped with all its processes, and is retried.",
    why: "The program hangs, or --job-timeout is too short for an object of this size.",
    fix: "Raise --job-timeout, or find out what the program waits for. The program has no terminal, and its stdin ends \
        with the object.",
    example: "batchpipe run --queue jobs --job-timeout 2h --output s3://acme-out/gz/ --process xz",
};

pub(super) const NO_SPACE: Text = Text {
    title: "no space left in the work directory or in the output directory",
    exit: Exit::Failed,
    help: "make room there, and repeat the command",
    meaning: "The job was given back to the queue without counting as failed, and is retried when there is space. If \
        the DEST of map is full, map ends with exit code 1.",
    why: "Programs with {input} or {output} need space for the whole object, for every job in flight. Outputs in a \
        directory need the same space.",
    fix: "Free some space, and run the command again. Or use a larger disk, lower --concurrency, or use a program that \
        reads stdin and writes stdout, because it needs no work directory.",
    example: "batchpipe run --queue jobs --work-dir /mnt/big -- cp {input} {output}",
};

pub(super) const WORK_DIRECTORY: Text = Text {
    title: "the work directory can't be used",
    exit: Exit::Access,
    help: "choose another with  --work-dir DIR",
    meaning: "At the start, nothing was started. Later, the job is retried.",
    why: "The directory is missing and can't be made, is not writable, is on a damaged disk, or was removed while the \
        worker ran.",
    fix: "Choose another directory with --work-dir. A program that reads stdin and writes stdout needs no work \
        directory.",
    example: "batchpipe run --queue jobs --work-dir /mnt/big -- cp {input} {output}",
};

pub(super) const OWN_FILE: Text = Text {
    title: "an output would replace a file that batchpipe itself needs",
    exit: Exit::Usage,
    help: "choose another output",
    meaning: "Nothing was written. The message moved to the dead-letter queue, because the same output would be \
        refused again. All other jobs go on.",
    why: "The queue (with the files that SQLite keeps next to it: -wal, -shm, -journal, -holder-), the journal or the \
        log file is in the folder of the outputs, and an input has the same name.",
    fix: "Keep the queue, the journal and the log outside the folder of the outputs, or give the input another name.",
    example: "batchpipe run --queue sqlite:/var/lib/jobs.db --output /data/out --process zstd",
};

pub(super) const LEASE_LOST: Text = Text {
    title: "the lease of a message was lost",
    exit: Exit::Failed,
    help: "nothing: the job goes on elsewhere",
    meaning: "The job was stopped before it published anything. Another worker has the message or will receive it, so \
        nothing is lost.",
    why: "For longer than the visibility timeout, the machine was suspended, had no CPU time, or could not reach the \
        queue. Or the message was purged.",
    fix: "If this is rare, do nothing. Otherwise lower --processors, or raise --visibility-timeout.",
    example: "batchpipe run --queue jobs --visibility-timeout 5m --output s3://acme-out/gz/ --process gzip",
};

pub(super) const NEIGHBOUR_ENDED: Text = Text {
    title: "a stage ended because the stage next to it ended",
    exit: Exit::Failed,
    help: "see the other failure of the job",
    meaning: "The job is retried. This error only follows from another failure of the same job: look for that failure.",
    why: "Links connect the stages, and a link that breaks stops the stages at both ends.",
    fix: "Look for the job's earlier error in the log.",
    example: "batchpipe run --queue jobs -v --output s3://acme-out/gz/ --process gzip",
};

pub(super) const HELD_TOO_LONG: Text = Text {
    title: "the message was held for 12 hours",
    exit: Exit::SomeFailed,
    help: "split the input, or raise the number of processors",
    meaning: "The job was stopped before it published anything, and the message returns to the queue.",
    why: "A queue lets nobody hold a message for longer than 12 hours, however often its lease is extended.",
    fix: "Split the work into smaller objects, or give the job more cores.",
    example: "batchpipe run --queue jobs --job-timeout 11h -- ./long",
};

pub(super) const STOPPING: Text = Text {
    title: "the worker is stopping",
    exit: Exit::GaveBack,
    help: "nothing: the job is given back",
    meaning: "The job was stopped before it published anything, and was given back to the queue at once.",
    why: "The drain took longer than --drain-timeout, or a second signal came.",
    fix: "You need not do anything: another worker, or the next start of this worker, does the job.",
    example: "batchpipe run --queue jobs --drain-timeout 10m -- ./long",
};

pub(super) const GROUP_WAITS: Text = Text {
    title: "a message waits for another message of its group",
    exit: Exit::Failed,
    help: "nothing: the message comes again",
    meaning: "The job was given back to the queue without an attempt, and did not fail. The queue delivers its message \
        again after the earlier message.",
    why: "On a FIFO queue, the messages of a group are processed in order. The earlier message of the group will be \
        retried, was lost to another worker, or could not be deleted. Or the worker is stopping.",
    fix: "Look for the failure of the earlier message. Each wait raises the receive count, so a queue with long groups \
        needs a higher maxReceiveCount.",
    example: "batchpipe run --queue jobs.fifo -v --output s3://acme-out/gz/ --process gzip",
};

pub(super) const DELETE_FAILED: Text = Text {
    title: "a message could not be deleted",
    exit: Exit::Failed,
    help: "nothing, if it passes: the job may be done again",
    meaning: "The job is done, or its message was sent to the dead-letter queue, but the queue has not confirmed that \
        the message is deleted. The message may come again. Then the job is done again, with the same bytes at the \
        same key, or the dead letter is sent twice.",
    why: "The queue refused the delete or could not be reached. Or the lease was lost at this moment and another \
        worker has the message. The cause has the queue's own words.",
    fix: "If this is rare, do nothing. If the cause is AccessDenied, the role needs sqs:DeleteMessage.",
    example: "batchpipe doctor --queue jobs",
};

pub(super) const GROUP_HELD_UP: Text = Text {
    title: "a rejected message holds up its FIFO group",
    exit: Exit::Failed,
    help: "give the queue a dead-letter queue",
    meaning: "The message stays in the queue, hidden for an hour, and then is tried again. The messages behind it in \
        its group wait for the same time; other groups go on. Nothing is lost until the queue's retention period ends. \
        With --until-empty, the worker ends with exit code 8 when only such messages are left.",
    why: "The job can never be done (its own log line says why), and its message can't be moved: the queue has no \
        redrive policy, and no --dead-letter was given. Skipping the message would break the order of the group.",
    fix: "Give the worker a dead-letter queue, which must be FIFO too. Then the message moves there, and its group \
        goes on.",
    example: "batchpipe run --queue jobs.fifo --dead-letter jobs-dead.fifo --output s3://acme-out/gz/ --process gzip",
};

pub(super) const STUCK: Text = Text {
    title: "the worker makes no progress any more",
    exit: Exit::Watchdog,
    help: "start it again, and report this with what was written above",
    meaning: "The worker ended with exit code 7 and reported what every stage waited for. Its messages return to the \
        queue after their visibility timeout, and the service manager starts another worker. For the last half of the \
        time, /healthz answered 503.",
    why: "There were jobs, but nothing progressed for --stuck-timeout beyond every deadline. The cause is a bug in \
        batchpipe, or a disk or a stderr that blocks writes. A running processor and a wait for a service count as \
        progress.",
    fix: "Report the cause, which names what every stage waited for. To limit a program that never ends, use \
        --job-timeout.",
    example: "batchpipe run --queue jobs --stuck-timeout 30m",
};

pub(super) const INTERNAL_PANIC: Text = Text {
    title: "a part of batchpipe panicked",
    exit: Exit::Failed,
    help: "start it again, and report this with what was written above",
    meaning: "In a stage of a job, the job failed and is retried like any other. Elsewhere, the worker drained and \
        ended with exit code 1. No message of an unfinished job was deleted.",
    why: "The cause is a bug in batchpipe.",
    fix: "Start batchpipe again, and report the text of the panic.",
    example: "batchpipe --version",
};
