//! BP4xx the processor, BP5xx the machine, BP6xx leases and links, BP7xx the watchdog.

use super::Text;
use crate::error::Exit;

pub(super) const PROCESSOR_FAILED: Text = Text::new(
    "a processor of the library refused or failed",
    Exit::SomeFailed,
    "read what the processor said, and try the object by hand",
    "Nothing was published. Rejected, the message moved to the dead letters; otherwise the job is tried again.",
    "The processor returned Reject (this input is bad, now and ever) or Retry (it may work another time), with \
        the reason in the cause.",
    "Read what the processor said, and try the object by hand.",
    "batchpipe dlq show MESSAGE --download",
);

pub(super) const PROGRAM_FAILED: Text = Text::new(
    "the program failed",
    Exit::SomeFailed,
    "try the program by hand on the same object",
    "Nothing was published. A status that means \"this input is bad\" (64 to 78 but 75, or one of --reject-codes) \
        moves the message to the dead letters; after any other the job is tried again.",
    "The program ended with a status other than 0 or by a signal, could not be started, or left something running \
        that holds its stdout. The last of what it wrote to stderr is the cause.",
    "Try it by hand on the same object. If some status means that the input is bad, name it in --reject-codes.",
    "batchpipe dlq show MESSAGE --download",
);

pub(super) const PROGRAM_OUTPUT_MISSING: Text = Text::new(
    "the program left no output",
    Exit::SomeFailed,
    "let the program write to {output}, or to stdout",
    "Without the file that {output} names nothing was published, and the job is tried again. A file or a stdout \
        without a byte is published as it is, for it may be right; the first is told, and their number at the end.",
    "The program ended with status 0, but there is no file where {output} said. Or its input is not empty and it wrote \
        nothing: it may write to a place of its own, which batchpipe does not see.",
    "Let the program write to {output}, or leave {output} out and write to stdout.",
    "batchpipe map ./in ./out -- cp {input} {output}",
);

pub(super) const PROCESSOR_PANICKED: Text = Text::new(
    "the processor panicked",
    Exit::SomeFailed,
    "report it to whoever wrote the processor, with the object",
    "The job is tried again; the worker and its other jobs go on. Nothing was published.",
    "A fault in the processor's code that this input brings out.",
    "Report it to whoever wrote the processor, with the object.",
    "batchpipe dlq show MESSAGE --download",
);

pub(super) const JOB_TIMED_OUT: Text = Text::new(
    "the job took too long",
    Exit::SomeFailed,
    "raise --job-timeout, or find out what the program waits for",
    "It was stopped with all its processes, and is tried again. Nothing was published.",
    "The program hangs, or the object is larger than --job-timeout was made for.",
    "Raise --job-timeout, or find out what the program waits for; it has no terminal, and stdin ends with the \
        object.",
    "batchpipe run --queue jobs --job-timeout 2h --output s3://acme-out/gz/ --process xz",
);

pub(super) const NO_SPACE: Text = Text::new(
    "no space left in the work directory, or where the outputs go",
    Exit::Failed,
    "make room there, and repeat the command",
    "The job was given back, not failed, and is tried again when there is space. A map whose DEST is full ends, with \
    1.",
    "Programs with {input} or {output} need room for the whole object, for every job in flight. So do outputs in a \
    directory.",
    "Make room, and type the command again. Or use a larger disk, lower --concurrency, or a program that reads stdin \
    and writes stdout: it needs no work directory.",
    "batchpipe run --queue jobs --work-dir /mnt/big -- cp {input} {output}",
);

pub(super) const WORK_DIRECTORY: Text = Text::new(
    "the work directory can't be used",
    Exit::Access,
    "choose another with  --work-dir DIR",
    "At the start: nothing was started. Later: the job is tried again.",
    "It is missing and can't be made, may not be written, is on a damaged disk, or was removed while the worker \
        ran.",
    "Choose another with --work-dir. A program that reads stdin and writes stdout needs none.",
    "batchpipe run --queue jobs --work-dir /mnt/big -- cp {input} {output}",
);

pub(super) const OWN_FILE: Text = Text::new(
    "an output would replace a file that batchpipe itself needs",
    Exit::Usage,
    "choose another output",
    "Nothing was written. The message moved to the dead letters: the same output would be refused again. All other \
    jobs go on.",
    "The queue (with what SQLite keeps beside it: -wal, -shm, -journal, -holder-), the journal or the log file lies in \
    the folder that outputs go to, and an input has its name.",
    "Keep the queue, the journal and the log outside the folder of the outputs, or give the input another name.",
    "batchpipe run --queue sqlite:/var/lib/jobs.db --output /data/out --process zstd",
);

pub(super) const LEASE_LOST: Text = Text::new(
    "the lease of a message was lost",
    Exit::Failed,
    "nothing: the job goes on elsewhere",
    "The job was stopped before it published anything. Another worker has it, or will have it; nothing is lost.",
    "The machine was asleep or out of CPU for longer than the visibility timeout, the queue could not be reached \
        for that long, or the message was purged.",
    "Nothing, if it is rare. Otherwise lower --processors, or raise --visibility-timeout.",
    "batchpipe run --queue jobs --visibility-timeout 5m --output s3://acme-out/gz/ --process gzip",
);

pub(super) const NEIGHBOUR_ENDED: Text = Text::new(
    "a stage ended because its neighbour did",
    Exit::Failed,
    "see the other failure of the job",
    "The echo of another failure of the same job, which is the one to look at. The job is tried again.",
    "Stages are joined by links, and a link that breaks stops both of its ends.",
    "Look for the error before it in the log.",
    "batchpipe run --queue jobs -v --output s3://acme-out/gz/ --process gzip",
);

pub(super) const HELD_TOO_LONG: Text = Text::new(
    "the message was held for 12 hours",
    Exit::SomeFailed,
    "split the input, or raise the number of processors",
    "The job was cut before it published, and the message comes back.",
    "A queue lets nobody hold a message for longer, however often the lease is extended.",
    "Split the work into objects that take less, or give the job more cores.",
    "batchpipe run --queue jobs --job-timeout 11h -- ./long",
);

pub(super) const STOPPING: Text = Text::new(
    "the worker is stopping",
    Exit::GaveBack,
    "nothing: the job is given back",
    "The job was cut before it published, and given back at once.",
    "The drain took longer than --drain-timeout, or a second signal came.",
    "Nothing: another worker, or the next start, does the job.",
    "batchpipe run --queue jobs --drain-timeout 10m -- ./long",
);

pub(super) const GROUP_WAITS: Text = Text::new(
    "a message waits for another of its group",
    Exit::Failed,
    "nothing: the message comes again",
    "The job was given back untried; it has not failed. The queue hands it out again behind the one that it waits for.",
    "On a FIFO queue the messages of a group are worked in order. The one before it in its group is to be tried again, \
        was lost to another worker, or could not be deleted; or the worker stops.",
    "Look for the failure of the message before it. Each wait raises the count of receives, so that a queue with long \
        groups wants a higher maxReceiveCount.",
    "batchpipe run --queue jobs.fifo -v --output s3://acme-out/gz/ --process gzip",
);

pub(super) const DELETE_FAILED: Text = Text::new(
    "a message could not be deleted",
    Exit::Failed,
    "nothing, if it passes: the job may be done again",
    "Its job is done, or its letter is with the dead letters, but the queue has not said that the message is gone. It \
        may come again: the job is then done again, with the same bytes at the same key, or the letter is sent twice.",
    "The queue refused the delete or could not be reached, or the lease was lost just then and another worker has the \
        message. The cause has the queue's own words.",
    "Nothing, if it is rare. If the cause is AccessDenied, the role needs sqs:DeleteMessage.",
    "batchpipe doctor --queue jobs",
);

pub(super) const GROUP_HELD_UP: Text = Text::new(
    "a rejected message holds up its FIFO group",
    Exit::Failed,
    "give the queue a dead-letter queue",
    "The message stays in the queue, hidden for an hour, and then is tried again; what is behind it in its group waits \
    as long. Other groups go on. Nothing is lost until the queue's retention ends. With --until-empty the worker ends, \
    with exit code 8, when only such messages are left.",
    "The job can never be done (its own line in the log says why), and there is nowhere to move it: the queue has no \
        redrive policy, and no --dead-letter was given. To go past it would break the order of the group.",
    "Give the worker a dead-letter queue, which must be FIFO too. Then the message moves there and its group goes on, \
        without it.",
    "batchpipe run --queue jobs.fifo --dead-letter jobs-dead.fifo --output s3://acme-out/gz/ --process gzip",
);

pub(super) const STUCK: Text = Text::new(
    "nothing moves any more",
    Exit::Watchdog,
    "start it again, and report this with what was written above",
    "The worker ended with exit code 7 and told what every stage waited for. Its messages return to the queue by \
        their visibility timeout, and whatever started the worker starts another. /healthz answered 503 for the last \
        half of the time.",
    "There were jobs, and for --stuck-timeout beyond every deadline nothing moved: a fault in batchpipe, or a disk or \
        stderr that blocks whoever writes to it. A processor at work counts as moving, and so does waiting for a \
        service.",
    "Report the cause, which names what every stage waited for. A program that never ends is bounded by --job-timeout.",
    "batchpipe run --queue jobs --stuck-timeout 30m",
);

pub(super) const INTERNAL_PANIC: Text = Text::new(
    "a part of batchpipe panicked",
    Exit::Failed,
    "start it again, and report this with what was written above",
    "In a job's stage: the job failed and is tried again like any other. Elsewhere: the worker drained and ended with \
        exit code 1. Nothing was deleted that was not done.",
    "A fault in batchpipe.",
    "Start it again, and report the words of the panic.",
    "batchpipe --version",
);
