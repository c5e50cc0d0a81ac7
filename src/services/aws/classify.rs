//! Maps a failure of the SDK to a kind: the only place that reads a service's error codes.
//!
//! An error code takes precedence over a status. The wording decides only in three cases in which AWS uses one code for
//! two meanings. Texts for the log are one short line, and never the text of a signature failure, because there AWS
//! repeats the signed request including the session token.

use std::error::Error;
use std::io;

use aws_config::imds::client::error::{ImdsError, TokenError};
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_checksums::body::validate::Error as ChecksumError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::bound::TooLong;
use crate::error::{Reason, ServiceError, ServiceErrorKind};

/// The kind of a request, as far as it changes the meaning of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Reading an object: a failed precondition means that the object has changed.
    Read,
    /// Writing an object: a failed precondition means that the object exists already.
    Write,
    /// Any request to a queue.
    Queue,
}

/// The longest message that is kept, in characters: a log line's worth.
const MESSAGE_CHARS: usize = 300;

/// Maps the failure of a request that needs the permission `right`, an IAM action. A refusal names the permission: SQS
/// and S3 sometimes name it themselves, other servers and responses to HEAD never do. The SDK's error is kept as the
/// source, except for a signature failure, in which AWS repeats the signed request.
pub fn service_error<E>(error: SdkError<E, HttpResponse>, asked: Asked, right: &str) -> ServiceError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let mut read = request_error(&error, asked);
    if !is_signature(&read.code) {
        read = read.with_source(error);
    }
    if read.kind == ServiceErrorKind::Denied && !read.message.to_lowercase().contains(&right.to_lowercase()) {
        read.message = format!("{}; it takes the right to {right}", read.message);
    }
    // One permission decides how S3 answers for a missing object: 404, or 403 if the role may not list the bucket.
    if read.kind == ServiceErrorKind::Denied && right == "s3:GetObject" {
        read.message.push_str(", and without s3:ListBucket a missing object is refused, too");
    }
    read
}

fn request_error<E>(error: &SdkError<E, HttpResponse>, asked: Asked) -> ServiceError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(failure) => {
            let status = failure.raw().status().as_u16();
            let elsewhere = failure.raw().headers().get("x-amz-bucket-region");
            answered(failure.err().code(), status, failure.err().message().unwrap_or_default(), elsewhere, asked)
        }
        SdkError::ResponseError(failure) => {
            let status = failure.raw().status().as_u16();
            match broken_body(error) {
                Some(broken) if status < 300 => broken,
                _ if status < 300 => unreachable("UnreadableResponse", error).because(Reason::Unreadable),
                _ => {
                    let elsewhere = failure.raw().headers().get("x-amz-bucket-region");
                    let too_long = chain(error).any(|error| error.is::<TooLong>());
                    let words = if too_long { deepest(error) } else { String::new() };
                    answered(None, status, &words, elsewhere, asked)
                }
            }
        }
        SdkError::TimeoutError(_) => unreachable("Timeout", error),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => unreachable("Timeout", error),
        SdkError::DispatchFailure(_) => no_credentials(error).unwrap_or_else(|| unreachable("Unreachable", error)),
        _ => ServiceError::new(ServiceErrorKind::Invalid, "InvalidRequest", one_line(&deepest(error))),
    }
}

/// Maps the failure of one entry of a batch call.
pub fn entry_error(code: &str, message: Option<&str>, sender_fault: bool) -> ServiceError {
    let status = if sender_fault { 400 } else { 500 };
    answered(Some(code), status, message.unwrap_or_default(), None, Asked::Queue)
}

/// Maps the failure of a body that had begun to arrive: the bytes so far are incomplete.
pub fn body_error(error: impl Error + Send + Sync + 'static) -> ServiceError {
    broken_body(&error).unwrap_or_else(|| unreachable("BrokenBody", &error)).with_source(error)
}

fn answered(code: Option<&str>, status: u16, message: &str, elsewhere: Option<&str>, asked: Asked) -> ServiceError {
    let code = bare(code.unwrap_or_default());
    // A response without a body (to HEAD) or in an unknown form has no code, or its status as the code.
    let numeric = code.parse::<u16>().ok();
    let kind = match numeric {
        None if !code.is_empty() => by_code(code, message, asked).unwrap_or_else(|| by_status(status, asked)),
        _ => by_status(numeric.unwrap_or(status), asked),
    };
    // A bare 400 as the response to a HEAD means that the bucket is in another region (which the response then names)
    // or that the token has expired; it must not count as an invalid request.
    let kind = match (code.is_empty() && status == 400, elsewhere) {
        (true, Some(_)) => ServiceErrorKind::WrongRegion,
        (true, None) => ServiceErrorKind::Unavailable,
        (false, _) => kind,
    };
    let shown = if code.is_empty() { format!("HTTP {status}") } else { code.to_owned() };
    let words = match kind {
        ServiceErrorKind::WrongRegion => match elsewhere {
            Some(region) => format!("the bucket is in {}", one_line(region)),
            None => one_line(message),
        },
        _ if is_signature(code) => "the secret key is not that of the access key, or the clock is wrong".to_owned(),
        _ if message.is_empty() => "the service gave no reason".to_owned(),
        _ => one_line(message),
    };
    ServiceError {
        reason: reason(kind, code, numeric.unwrap_or(status), elsewhere),
        ..ServiceError::new(kind, shown, words)
    }
}

/// The particular reason of a failure, if a decision depends on it.
fn reason(kind: ServiceErrorKind, code: &str, status: u16, elsewhere: Option<&str>) -> Option<Reason> {
    match (kind, code) {
        (ServiceErrorKind::WrongRegion, _) => elsewhere.map(|region| Reason::InRegion(one_line(region))),
        (ServiceErrorKind::Missing, "NoSuchKey") => Some(Reason::KeyMissing),
        (ServiceErrorKind::Missing, "NoSuchBucket") => Some(Reason::BucketMissing),
        (ServiceErrorKind::Missing, "NoSuchUpload") => Some(Reason::UploadMissing),
        (ServiceErrorKind::Credentials, "ExpiredToken" | "ExpiredTokenException") => Some(Reason::Expired),
        (_, "NotImplemented") => Some(Reason::NotImplemented),
        _ if status == 501 => Some(Reason::NotImplemented),
        _ if status < 300 => Some(Reason::Unreadable),
        _ => None,
    }
}

/// The last part of a code: SQS uses `AWS.SimpleQueueService.NonExistentQueue` and `com.amazonaws.sqs#OverLimit`. A
/// code of the key service keeps its prefix, because without it the code would look like a code of another service.
fn bare(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or(code);
    if code.starts_with("KMS.") { code } else { code.rsplit('.').next().unwrap_or(code) }
}

fn is_signature(code: &str) -> bool {
    matches!(code, "SignatureDoesNotMatch" | "InvalidSignatureException" | "IncompleteSignature" | "AuthFailure")
}

/// The kinds of codes that are more specific than their status.
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>,
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html>)
fn by_code(code: &str, message: &str, asked: Asked) -> Option<ServiceErrorKind> {
    use ServiceErrorKind::{
        Changed, Corrupt, Credentials, Denied, Exists, Invalid, LeaseLost, Missing, Throttled, Unavailable, WrongRegion,
    };
    let kind = match code {
        "SlowDown"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "KmsThrottled"
        | "KMS.ThrottlingException"
        | "OverLimit" => Throttled,

        // Signed with a wrong time; the SDK uses the right time for the next request.
        "RequestTimeTooSkewed" | "RequestExpired" => Unavailable,
        _ if is_signature(code) && message.starts_with("Signature expired") => Unavailable,
        _ if is_signature(code) && message.starts_with("Signature not yet") => Unavailable,
        "RequestTimeout"
        | "RequestTimeoutException"
        | "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "OperationAborted"
        | "TemporaryRedirect" => Unavailable,
        // The parts are not as expected. Starting the upload again helps, so this is not the job's fault.
        "InvalidPart" | "InvalidPartOrder" => Unavailable,

        "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "MissingAuthenticationToken"
        | "NoCredentials" => Credentials,
        _ if is_signature(code) => Credentials,

        "AccessDenied"
        | "AccessDeniedException"
        | "AllAccessDisabled"
        | "AccountProblem"
        | "NotSignedUp"
        | "OptInRequired" => Denied,
        // If a key can't be used, every job fails in the same way.
        _ if code.starts_with("Kms") || code.starts_with("KMS.") => Denied,

        "NoSuchKey" | "NoSuchBucket" | "NoSuchUpload" | "NoSuchVersion" | "NotFound" | "QueueDoesNotExist"
        | "NonExistentQueue" => Missing,
        // The version is a delete marker.
        "MethodNotAllowed" if asked == Asked::Read => Missing,
        "PreconditionFailed" if asked == Asked::Write => Exists,
        "PreconditionFailed" => Changed,
        "ConditionalRequestConflict" => Exists,
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => WrongRegion,
        "BadDigest"
        | "InvalidDigest"
        | "IncompleteBody"
        | "XAmzContentChecksumMismatch"
        | "XAmzContentSHA256Mismatch" => Corrupt,

        "ReceiptHandleIsInvalid" | "MessageNotInflight" => LeaseLost,
        "InvalidParameterValue" if message.contains("expired") => LeaseLost,
        // Archived: the status is 403, but no permission would help.
        "InvalidObjectState" => Invalid,
        _ => return None,
    };
    Some(kind)
}

fn by_status(status: u16, asked: Asked) -> ServiceErrorKind {
    match status {
        // A success that can't be parsed.
        ..=300 => ServiceErrorKind::Unavailable,
        301 => ServiceErrorKind::WrongRegion,
        401 => ServiceErrorKind::Credentials,
        403 => ServiceErrorKind::Denied,
        404 => ServiceErrorKind::Missing,
        405 if asked == Asked::Read => ServiceErrorKind::Missing,
        408 => ServiceErrorKind::Unavailable,
        412 if asked == Asked::Write => ServiceErrorKind::Exists,
        412 => ServiceErrorKind::Changed,
        429 | 503 => ServiceErrorKind::Throttled,
        // Not implemented: a server that is not fully compatible with S3.
        501 => ServiceErrorKind::Invalid,
        500.. | 307 => ServiceErrorKind::Unavailable,
        _ => ServiceErrorKind::Invalid,
    }
}

/// The chain of errors that led to this error, from the outermost to the innermost.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (**error).source())
}

/// The text of the innermost cause. For the metadata service, this text is its whole response in Rust's debug format.
pub(super) fn deepest(error: &(dyn Error + 'static)) -> String {
    match metadata_status(error) {
        Some(status @ 403) => format!(
            "the machine's metadata service answered with status {status}: it is switched off, or closed to this \
            program"
        ),
        Some(status) => format!("the machine's metadata service answered with status {status}"),
        None => chain(error).last().map(ToString::to_string).unwrap_or_default(),
    }
}

/// Whether keys are missing because the user has not signed in, or signed in too long ago: the SDK says only in the
/// text of an error that the cache filled by `aws sso login` has no token, or an expired token.
pub(super) fn is_signed_out(error: &(dyn Error + 'static)) -> bool {
    const WORDS: [&str; 3] = ["SSO token", "/sso/cache/", "UnauthorizedException"];
    chain(error).any(|error| WORDS.iter().any(|words| error.to_string().contains(words)))
}

/// The status with which a machine's metadata service refused its token, or a request made with the token.
fn metadata_status(error: &(dyn Error + 'static)) -> Option<u16> {
    let answer = chain(error).find_map(|error| {
        if let Some(ImdsError::ErrorResponse(answer)) = error.downcast_ref() {
            return Some(answer.response());
        }
        error.downcast_ref::<SdkError<TokenError, HttpResponse>>()?.raw_response()
    });
    Some(answer?.status().as_u16())
}

fn unreachable(code: &str, error: &(dyn Error + 'static)) -> ServiceError {
    let system = chain(error).filter_map(|error| error.downcast_ref::<io::Error>()).last();
    let named = system.map(io::Error::kind).filter(|kind| !matches!(kind, io::ErrorKind::Other));
    let code = named.map_or_else(|| code.to_owned(), |kind| format!("{kind:?}"));
    ServiceError::new(ServiceErrorKind::Unavailable, code, one_line(&deepest(error)))
}

fn no_credentials(error: &(dyn Error + 'static)) -> Option<ServiceError> {
    let found = chain(error).find_map(|error| error.downcast_ref::<CredentialsError>())?;
    let kind = if is_passing(found) { ServiceErrorKind::Unavailable } else { ServiceErrorKind::Credentials };
    let reason = if is_signed_out(found) { Reason::SignedOut } else { Reason::NoCredentials };
    Some(ServiceError::new(kind, "NoCredentials", one_line(&deepest(found))).because(reason))
}

/// Whether the request for keys failed temporarily, instead of there being no keys: a machine's metadata service fails
/// sometimes, and for some seconds after a boot. If it refuses, it refuses every time, except for an expired token
/// (401) (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>).
pub(super) fn is_passing(error: &CredentialsError) -> bool {
    let refused = matches!(metadata_status(error), Some(400 | 403 | 404));
    let asked = chain(error).any(|error| error.is::<ImdsError>());
    matches!(error, CredentialsError::ProviderTimedOut(_)) || (asked && !refused)
}

fn broken_body(error: &(dyn Error + 'static)) -> Option<ServiceError> {
    let broken = chain(error).find_map(|error| {
        if error.is::<ChecksumError>() {
            return Some("ChecksumMismatch");
        }
        // hyper reports this when the connection ends before the promised length.
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
            return Some("IncompleteBody");
        }
        error.downcast_ref::<hyper::Error>().filter(|error| error.is_incomplete_message()).map(|_| "IncompleteBody")
    })?;
    Some(ServiceError::new(ServiceErrorKind::Corrupt, broken, one_line(&deepest(error))))
}

/// The first line of `text`, without control characters, cut at [`MESSAGE_CHARS`].
pub(crate) fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|character| !character.is_control()).take(MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::ServiceErrorKind::*;
    use super::*;

    #[test]
    fn what_a_decision_depends_on_is_read_from_the_code_or_the_status() {
        let table = [
            (Some("NoSuchKey"), 404, Some(Reason::KeyMissing)),
            (Some("NoSuchBucket"), 404, Some(Reason::BucketMissing)),
            (Some("NoSuchUpload"), 404, Some(Reason::UploadMissing)),
            (Some("ExpiredToken"), 400, Some(Reason::Expired)),
            (Some("NotImplemented"), 501, Some(Reason::NotImplemented)),
            (None, 501, Some(Reason::NotImplemented)),
            (None, 204, Some(Reason::Unreadable)),
            (None, 404, None),
            (Some("AccessDenied"), 403, None),
        ];
        for (code, status, reason) in table {
            assert_eq!(answered(code, status, "", None, Asked::Write).reason, reason, "{code:?} {status}");
        }
        let elsewhere = answered(None, 301, "", Some("us-east-1"), Asked::Write);
        assert_eq!(elsewhere.reason, Some(Reason::InRegion("us-east-1".to_owned())));
    }

    #[test]
    fn every_answer_has_its_kind() {
        use Asked::{Queue, Read, Write};
        let table = [
            (Some("SlowDown"), 503, "", Write, Throttled),
            (Some("ServiceUnavailable"), 503, "", Read, Throttled),
            (None, 503, "", Read, Throttled),
            (None, 429, "", Read, Throttled),
            (Some("RequestThrottled"), 400, "", Queue, Throttled),
            (Some("AWS.SimpleQueueService.OverLimit"), 403, "", Queue, Throttled),
            (Some("com.amazonaws.sqs#KmsThrottled"), 400, "", Queue, Throttled),
            (Some("KMS.ThrottlingException"), 400, "", Write, Throttled),
            (Some("RequestTimeout"), 400, "", Write, Unavailable),
            (Some("InternalError"), 200, "", Write, Unavailable),
            (Some("InternalError"), 500, "", Write, Unavailable),
            (Some("NotImplemented"), 501, "", Write, Invalid),
            (None, 502, "", Read, Unavailable),
            (None, 504, "", Read, Unavailable),
            (Some("RequestTimeTooSkewed"), 403, "", Read, Unavailable),
            (Some("InvalidSignatureException"), 400, "Signature expired: 2026", Queue, Unavailable),
            (Some("InvalidPart"), 400, "", Write, Unavailable),
            (Some("NoSuchUpload"), 404, "", Write, Missing),
            (Some("AccessDenied"), 403, "", Read, Denied),
            (Some("403"), 403, "", Queue, Denied),
            (None, 403, "", Read, Denied),
            (Some("KMS.DisabledException"), 400, "", Write, Denied),
            (Some("KmsAccessDenied"), 400, "", Queue, Denied),
            (Some("ExpiredToken"), 400, "", Read, Credentials),
            (Some("InvalidToken"), 400, "", Read, Credentials),
            (Some("InvalidAccessKeyId"), 403, "", Read, Credentials),
            (Some("SignatureDoesNotMatch"), 403, "", Read, Credentials),
            (Some("NoSuchKey"), 404, "", Read, Missing),
            (Some("NoSuchBucket"), 404, "", Write, Missing),
            (None, 404, "", Read, Missing),
            (None, 400, "", Read, Unavailable),
            (Some("AWS.SimpleQueueService.NonExistentQueue"), 400, "", Queue, Missing),
            (Some("QueueDoesNotExist"), 400, "", Queue, Missing),
            (Some("PreconditionFailed"), 412, "", Read, Changed),
            (None, 412, "", Read, Changed),
            (Some("PreconditionFailed"), 412, "", Write, Exists),
            (Some("ConditionalRequestConflict"), 409, "", Write, Exists),
            (Some("PermanentRedirect"), 301, "", Read, WrongRegion),
            (None, 301, "", Read, WrongRegion),
            (Some("AuthorizationHeaderMalformed"), 400, "", Read, WrongRegion),
            (Some("BadDigest"), 400, "", Write, Corrupt),
            (Some("IncompleteBody"), 400, "", Write, Corrupt),
            (Some("ReceiptHandleIsInvalid"), 404, "", Queue, LeaseLost),
            (Some("MessageNotInflight"), 400, "", Queue, LeaseLost),
            (Some("InvalidParameterValue"), 400, "The receipt handle has expired.", Queue, LeaseLost),
            (Some("InvalidParameterValue"), 400, "VisibilityTimeout is too long", Queue, Invalid),
            (Some("InvalidObjectState"), 403, "", Read, Invalid),
            (Some("EntityTooLarge"), 400, "", Write, Invalid),
            (Some("SomethingNobodyKnows"), 400, "", Write, Invalid),
            (Some("SomethingNobodyKnows"), 500, "", Write, Unavailable),
        ];
        for (code, status, message, asked, kind) in table {
            let read = answered(code, status, message, None, asked);
            assert_eq!(read.kind, kind, "{code:?} {status} {message:?} {asked:?}");
        }
    }

    #[test]
    fn the_words_of_a_signature_failure_never_reach_a_log() {
        let said = "The request signature we calculated does not match. x-amz-security-token:FwoGSECRET";
        let read = answered(Some("SignatureDoesNotMatch"), 403, said, None, Asked::Queue);
        assert!(!read.to_string().contains("SECRET"), "{read}");
    }

    #[test]
    fn a_message_is_one_short_line_without_control_characters() {
        let read = answered(Some("Odd"), 400, &format!("a\u{1b}[31mb{}\nforged", "x".repeat(1000)), None, Asked::Read);
        assert!(read.message.starts_with("a[31mb"));
        assert!(!read.message.contains("forged") && read.message.len() <= MESSAGE_CHARS);
    }

    #[test]
    fn a_bucket_elsewhere_says_where() {
        let head = answered(None, 400, "", Some("us-east-1"), Asked::Read);
        assert_eq!(head.kind, WrongRegion);
        assert_eq!(head.message, "the bucket is in us-east-1");
    }

    #[test]
    fn an_entry_that_failed_through_the_service_may_be_tried_again() {
        assert_eq!(entry_error("InternalError", None, false).kind, Unavailable);
        assert_eq!(entry_error("Unheard", None, false).kind, Unavailable);
        assert_eq!(entry_error("InvalidMessageContents", Some("#x0"), true).kind, Invalid);
    }
}
