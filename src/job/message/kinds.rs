//! The kinds of events: creations, kinds that are known not to be creations, and all others.
//!
//! Both lists are closed. A message whose kind is in neither list is kept (BP212): the kind may be a creation that
//! is newer than this program, and the operator of the queue has to decide. A name in a list may end in `*`, which
//! matches any ending.
//!
//! Sources: S3's kinds are
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-event-types-and-destinations.html> and
//! the enumeration `Event` of its API; EventBridge's are
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/EventBridge.html>; MinIO's are
//! <https://docs.min.io/enterprise/aistor-object-store/administration/bucket-notifications/>; Ceph's are
//! <https://docs.ceph.com/en/latest/radosgw/s3-notification-compatibility/>; the calls that CloudTrail records are
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/cloudtrail-logging-s3-info.html>.

use super::checks::{malformed, quote};
use crate::error::{Code, JobError};

/// What a kind of event means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An object was created.
    Creation,
    /// No object was created. Holds the entry of the list.
    Nothing(&'static str),
    /// The kind is in no list.
    Unknown,
}

/// The kind of an empty object that only makes a folder in a console.
pub(super) const FOLDER: &str = "a folder of the console";

/// The kind of a call that S3 refused.
pub(super) const FAILED_CALL: &str = "a call that failed";

/// Kinds of S3 notifications for a created object. The last two are Ceph's, for an object from another zone.
const CREATIONS: [&str; 3] = ["ObjectCreated:*", "ObjectSynced:Create", "Replication:Create"];

/// Kinds of S3 notifications without a created object. The first four are MinIO's, for new tags or locks on an existing
/// object.
const NO_CREATIONS: [&str; 22] = [
    "ObjectCreated:PutTagging",
    "ObjectCreated:DeleteTagging",
    "ObjectCreated:PutRetention",
    "ObjectCreated:PutLegalHold",
    "ObjectRemoved:*",
    "ObjectRestore:*",
    "ObjectTagging:*",
    "ObjectAcl:*",
    "ObjectAnnotation:*",
    "LifecycleExpiration:*",
    "LifecycleTransition",
    "LifecycleTransition:*",
    "IntelligentTiering",
    "Replication:*",
    "ReducedRedundancyLostObject",
    "TestEvent",
    // MinIO's.
    "ObjectAccessed:*",
    "ObjectTransition:*",
    "Scanner:*",
    // Ceph's.
    "ObjectLifecycle:*",
    "ObjectSynced:Delete",
    "ObjectSynced:DeletionMarkerCreated",
];

/// `detail-type`s of S3 events from EventBridge without a created object.
const NO_CREATIONS_OF_BRIDGE: [&str; 9] = [
    "Object Deleted",
    "Object Restore Initiated",
    "Object Restore Completed",
    "Object Restore Expired",
    "Object Storage Class Changed",
    "Object Access Tier Changed",
    "Object ACL Updated",
    "Object Tags Added",
    "Object Tags Deleted",
];

/// Calls to S3 that create an object.
const CREATING_CALLS: [&str; 4] = ["PutObject", "CopyObject", "CompleteMultipartUpload", "PostObject"];

/// Calls to S3 that create no object: reads, calls about a bucket, and calls about an object that exists or does not
/// exist yet.
const OTHER_CALLS: [&str; 21] = [
    "Get*",
    "Head*",
    "List*",
    "SelectObjectContent",
    "CreateBucket*",
    "DeleteBucket*",
    "PutBucket*",
    "DeleteObject",
    "DeleteObjects",
    "DeleteObjectTagging",
    "PutObjectTagging",
    "PutObjectAcl",
    "PutObjectRetention",
    "PutObjectLegalHold",
    "PutObjectLockConfiguration",
    "PutPublicAccessBlock",
    "RestoreObject",
    "CreateMultipartUpload",
    "UploadPart",
    "UploadPartCopy",
    "AbortMultipartUpload",
];

/// The meaning of a notification's `eventName`, without the `s3:` before it.
pub(super) fn of_event(name: &str) -> Kind {
    // Exact names come first: `Replication:Create` of Ceph, `ObjectCreated:PutTagging` of MinIO.
    let whole = |list: &[&'static str]| list.iter().copied().find(|kind| *kind == name);
    match (whole(&CREATIONS), whole(&NO_CREATIONS)) {
        (Some(_), _) => Kind::Creation,
        (None, Some(kind)) => Kind::Nothing(kind),
        (None, None) => in_lists(name, &CREATIONS, &NO_CREATIONS),
    }
}

/// The meaning of the `detail-type` of an S3 event from EventBridge.
pub(super) fn of_bridge(detail_type: &str) -> Kind {
    in_lists(detail_type, &["Object Created"], &NO_CREATIONS_OF_BRIDGE)
}

/// The meaning of the `eventName` of a call to S3.
pub(super) fn of_call(name: &str) -> Kind {
    in_lists(name, &CREATING_CALLS, &OTHER_CALLS)
}

fn in_lists(name: &str, creations: &[&'static str], others: &[&'static str]) -> Kind {
    let is = |kind: &&&str| match kind.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == **kind,
    };
    match (creations.iter().find(is), others.iter().find(is)) {
        (Some(_), _) => Kind::Creation,
        (None, Some(kind)) => Kind::Nothing(kind),
        (None, None) => Kind::Unknown,
    }
}

/// The error for a kind that is in no list.
pub(super) fn unknown(what: &str, name: &str) -> JobError {
    malformed(
        Code::UnknownEvent,
        format!("{what} of the unknown kind {}: nobody knows whether it tells of a new object", quote(name)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_one_list_and_a_new_one_in_none() {
        for creation in ["ObjectCreated:Put", "ObjectCreated:Post", "ObjectCreated:Copy", "ObjectSynced:Create"] {
            assert_eq!(of_event(creation), Kind::Creation, "{creation}");
        }
        assert_eq!(of_event("ObjectCreated:CompleteMultipartUpload"), Kind::Creation);
        assert_eq!(of_event("ObjectCreated:PutTagging"), Kind::Nothing("ObjectCreated:PutTagging"));
        assert_eq!(of_event("Replication:Create"), Kind::Creation);
        assert_eq!(of_event("Replication:OperationFailedReplication"), Kind::Nothing("Replication:*"));
        for kind in NO_CREATIONS {
            assert_eq!(of_event(&kind.replace('*', "Anything")), Kind::Nothing(kind));
        }
        for unknown in ["", "ObjectCreated", "ObjectRenamed:Put", "objectremoved:Delete", "ObjectRemoved"] {
            assert_eq!(of_event(unknown), Kind::Unknown, "{unknown:?}");
        }
        assert_eq!((of_bridge("Object Created"), of_bridge("Object Renamed")), (Kind::Creation, Kind::Unknown));
        assert_eq!((of_call("PostObject"), of_call("RenameObject")), (Kind::Creation, Kind::Unknown));
        assert_eq!(of_call("GetObject"), Kind::Nothing("Get*"));
        assert_eq!(of_call("PutObjectTagging"), Kind::Nothing("PutObjectTagging"), "not the beginning of a name");
    }
}
