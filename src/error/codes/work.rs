//! BP4xx the processor, BP5xx the machine, BP6xx leases and links, BP7xx the watchdog.

use super::Text;

pub(super) const PROCESSOR_FAILED: Text = Text::new(
    "a library user's processor rejected the input or failed",
    "Nothing was published. If the processor rejected the input, the message moved to the dead letters; otherwise the \
        job is tried again.",
    "The processor returned Reject (this input is bad and will stay bad) or Retry (another try may succeed), and gave \
        the reason shown in the cause.",
    "Read the processor's reason in the cause, and try the object by hand.",
    "batchpipe dlq show MESSAGE --download",
);

pub(super) const PROGRAM_FAILED: Text = Text::new(
    "the program failed",
    "Nothing was published. A status that means \"this input is bad\" (64 to 78 except 75, or one of --reject-codes) \
        moves the message to the dead letters; after any other status the job is tried again.",
    "The program exited with a status other than 0, was killed by a signal, could not be started, or left a process \
        running that keeps its stdout open. The cause is the end of its stderr.",
    "Try the program by hand on the same object. If one of its statuses means that the input is bad, add the status to \
        --reject-codes.",
    "batchpipe dlq show MESSAGE --download",
);

pub(super) const PROGRAM_OUTPUT_MISSING: Text = Text::new(
    "the program left no output",
    "If the file that {output} names is missing, nothing was published and the job is tried again. An empty file or an \
        empty stdout is published, because it may be right; batchpipe warns about the first empty output, and reports \
        their number at the end.",
    "The program exited with status 0, but there is no file at the path of {output}. Or its input is not empty and it \
        wrote nothing: it may write to another place, which batchpipe does not see.",
    "Let the program write to {output}, or leave {output} out and write to stdout.",
    "batchpipe map ./in ./out -- cp {input} {output}",
);

pub(super) const PROCESSOR_PANICKED: Text = Text::new(
    "the processor panicked",
    "The job is tried again; the worker and its other jobs go on. Nothing was published.",
    "The processor's code has a bug that this input triggers.",
    "Report the panic and the object to the author of the processor.",
    "batchpipe dlq show MESSAGE --download",
);

pub(super) const JOB_TIMED_OUT: Text = Text::new(
    "the job took too long",
    "The job was stopped with all its processes, and is tried again. Nothing was published.",
    "The program hangs, or --job-timeout is too short for an object of this size.",
    "Raise --job-timeout, or find out what the program waits for. The program has no terminal, and its stdin ends \
        after the object.",
    "batchpipe run --queue jobs --job-timeout 2h --output s3://acme-out/gz/ --process xz",
);

pub(super) const NO_SPACE: Text = Text::new(
    "no space left in the work directory or in the output directory",
    "The job went back to the queue, does not count as failed, and is tried again when there is space. A map whose \
        DEST is full ends with exit code 1.",
    "Programs with {input} or {output} need disk space for the whole object, for every job in flight. So do outputs in \
        a directory.",
    "Free some space, and run the command again. Or use a larger disk, a lower --concurrency, or a program that reads \
        stdin and writes stdout, which needs no work directory.",
    "batchpipe run --queue jobs --work-dir /mnt/big -- cp {input} {output}",
);

pub(super) const WORK_DIRECTORY: Text = Text::new(
    "the work directory can't be used",
    "If this happens at the start, nothing was started. If it happens later, the job is tried again.",
    "The directory is missing and can't be created, is not writable, is on a damaged disk, or was removed while the \
        worker ran.",
    "Choose another directory with --work-dir. A program that reads stdin and writes stdout needs no work directory.",
    "batchpipe run --queue jobs --work-dir /mnt/big -- cp {input} {output}",
);

pub(super) const OWN_FILE: Text = Text::new(
    "an output would replace a file that batchpipe itself needs",
    "Nothing was written. The message moved to the dead letters, because the same output would be refused again. All \
        other jobs go on.",
    "The queue (with the files beside it: -wal, -shm, -journal, -holder-), the journal or the log file is in the \
        folder that outputs go to, and the output of an input has the same name.",
    "Keep the queue, the journal and the log outside the output folder, or give the input another name.",
    "batchpipe run --queue sqlite:/var/lib/jobs.db --output /data/out --process zstd",
);

pub(super) const LEASE_LOST: Text = Text::new(
    "the lease of a message was lost",
    "The job was stopped before it published anything. Another worker has received the job or will receive it; nothing \
        is lost.",
    "The machine was suspended or had no CPU time for longer than the visibility timeout, the queue could not be \
        reached for that long, or the message was purged.",
    "Nothing, if this is rare. Otherwise lower --processors, or raise --visibility-timeout.",
    "batchpipe run --queue jobs --visibility-timeout 5m --output s3://acme-out/gz/ --process gzip",
);

pub(super) const NEIGHBOUR_ENDED: Text = Text::new(
    "a stage ended because the stage next to it ended",
    "This failure only follows from another failure of the same job, which is the one to look at. The job is tried \
        again.",
    "Links connect the stages, and a broken link stops the stages at both of its ends.",
    "Look for the error before this one in the log.",
    "batchpipe run --queue jobs -v --output s3://acme-out/gz/ --process gzip",
);

pub(super) const HELD_TOO_LONG: Text = Text::new(
    "the message was held for 12 hours",
    "The job was cancelled before it published, and the message returns to the queue.",
    "A queue never lets a worker hold a message for longer, however often the lease is extended.",
    "Split the work into objects that take less time, or give the job more cores.",
    "batchpipe run --queue jobs --job-timeout 11h -- ./long",
);

pub(super) const STOPPING: Text = Text::new(
    "the worker is stopping",
    "The job was cancelled before it published, and went back to the queue at once.",
    "The worker needed longer than --drain-timeout to finish its jobs, or received a second signal.",
    "Nothing: another worker, or the next start, does the job.",
    "batchpipe run --queue jobs --drain-timeout 10m -- ./long",
);

pub(super) const GROUP_WAITS: Text = Text::new(
    "a message waits for another message of its group",
    "The job went back to the queue untried; it has not failed. The queue delivers it again after the message that it \
        waits for.",
    "On a FIFO queue the messages of a group are processed in order. The earlier message in the group will be tried \
        again, was lost to another worker, or could not be deleted; or the worker is stopping.",
    "Look for the failure of the earlier message. Each wait raises the receive count, so a queue with long groups \
        needs a higher maxReceiveCount.",
    "batchpipe run --queue jobs.fifo -v --output s3://acme-out/gz/ --process gzip",
);

pub(super) const DELETE_FAILED: Text = Text::new(
    "a message could not be deleted",
    "The job is done, or the dead letter was sent, but the queue has not confirmed that the message is deleted. The \
        message may be received again: the job is then done again, with the same bytes at the same key, or the dead \
        letter is sent twice.",
    "The queue refused the delete or could not be reached, or the lease was lost at that moment and another worker has \
        the message. The cause quotes the queue.",
    "Nothing, if this is rare. If the cause is AccessDenied, the role needs sqs:DeleteMessage.",
    "batchpipe doctor --queue jobs",
);

pub(super) const GROUP_HELD_UP: Text = Text::new(
    "a rejected message holds up its FIFO group",
    "The message stays in the queue, hidden for an hour, and is then tried again; the later messages of its group wait \
        as long. Other groups go on. Nothing is lost until the queue's retention period ends. With --until-empty, the \
        worker ends with exit code 8 when only such messages are left.",
    "The job can never be done (its own line in the log says why), and there is nowhere to move the message: the queue \
        has no redrive policy, and no --dead-letter was given. Skipping the message would break the order of the \
        group.",
    "Give the worker a dead-letter queue, which must be FIFO too. Then the message moves there and its group goes on \
        without it.",
    "batchpipe run --queue jobs.fifo --dead-letter jobs-dead.fifo --output s3://acme-out/gz/ --process gzip",
);

pub(super) const STUCK: Text = Text::new(
    "the worker makes no progress any more",
    "The worker ended with exit code 7 and reported what every stage waited for. Its messages return to the queue when \
        their visibility timeout ends, and a service manager can start the worker again. /healthz answered 503 for \
        the last half of the time.",
    "There were jobs in hand, but nothing progressed for --stuck-timeout after the last deadline. The cause is a bug \
        in batchpipe, or a disk or stderr that blocks writers. A running processor counts as progress, and so does \
        waiting for a service.",
    "Report the cause, which names what every stage waited for. To end programs that never finish, set --job-timeout.",
    "batchpipe run --queue jobs --stuck-timeout 30m",
);

pub(super) const INTERNAL_PANIC: Text = Text::new(
    "a part of batchpipe panicked",
    "If a job's stage panicked, the job failed and is tried again like any other. If another part panicked, the worker \
        finished its jobs and ended with exit code 1. No message was deleted whose job was not done.",
    "batchpipe has a bug.",
    "Start batchpipe again, and report the text of the panic.",
    "batchpipe --version",
);
