//! The two calls that make an object appear: the write of a small one, and the completion of its parts.
//!
//! Before each attempt at either the lease is asked, because a worker that was stopped or cut off must not overwrite
//! what another has written meanwhile.

use bytes::Bytes;

use super::Target;
use crate::error::Stage::Upload as UPLOAD;
use crate::error::{Code, ErrorKind, JobError, ServiceErrorKind};
use crate::services::retry::Call;
use crate::services::store::{ObjectInfo, Part, Upload};
use crate::stop::cancel::Cut;

/// The call of an object that fits in one part, as counted.
const PUT: Call = Call::store("put");

/// The last call of a multipart upload, as counted.
const COMPLETE: Call = Call::store("complete");

/// Writes the object whole. Whether the message is still ours is asked before each attempt: where the network is away
/// for longer than the lease, another may have done the job meanwhile, and the next of its group.
pub(super) async fn put(target: &Target, cut: &Cut<'_>, body: Bytes) -> Result<(), JobError> {
    let Target { store, transfer, meters, to, how, .. } = target;
    let retry = target.patience(body.len());
    meters.allowed(retry.deadline);
    let mut failures = 0;
    loop {
        let passing = transfer.writes.enter().await;
        cut.confirm().await?;
        let answer = retry.attempt(PUT, store.put(to, body.clone(), how)).await;
        passing.ended(&answer, body.len() as u64);
        match answer {
            Err(error) if error.is_transient() => {
                failures += 1;
                retry.pause(meters, PUT, failures, error).await.map_err(|error| error.at(UPLOAD))?;
            }
            answer => return answer.map_err(|error| error.at(UPLOAD)),
        }
    }
}

/// Makes the object visible. An answer that got lost is asked for again, if the message is still ours (as in [`put`]);
/// an upload that is gone by then has become the object, if that has the right size and the marks of this very job. The
/// size alone is that of many an older output.
pub(super) async fn complete(
    target: &Target,
    cut: &Cut<'_>,
    upload: &dyn Upload,
    parts: &[Part],
    written: u64,
) -> Result<(), JobError> {
    let Target { store, transfer, meters, to, how, .. } = target;
    let retry = target.completing(written);
    meters.allowed(retry.deadline);
    let mut failures = 0;
    let error = loop {
        cut.confirm().await?;
        match retry.attempt(COMPLETE, upload.complete(parts)).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_transient() => {
                failures += 1;
                if let Err(error) = retry.pause(meters, COMPLETE, failures, error).await {
                    break error;
                }
            }
            Err(error) => break error,
        }
    };
    if error.kind == ServiceErrorKind::Missing && failures > 0 {
        let found = transfer.retry.run(meters, Call::store("head"), || store.head(to)).await.ok().flatten();
        let is_marked = |object: &ObjectInfo| {
            !how.metadata.is_empty()
                && how.metadata.iter().all(|(name, value)| object.metadata.get(name) == Some(value))
        };
        if found.is_some_and(|object| object.size == written && is_marked(&object)) {
            return Ok(());
        }
    }
    Err(match error.kind {
        // The upload vanished, not the input: the job can be done again.
        ServiceErrorKind::Missing => {
            JobError::new(UPLOAD, ErrorKind::Unavailable, Code::UploadVanished, error.to_string())
        }
        _ => error.at(UPLOAD),
    })
}
