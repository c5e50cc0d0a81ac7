//! Queues and object stores, and how to call them: the traits, their implementations for AWS and for this machine,
//! retries, hedged reads, and `open`, the only place that knows which implementation a URI names.
//!
//! Uses everything up to `capacity`; knows nothing of stages.

use futures::future::BoxFuture;

use crate::error::ServiceError;

pub mod aws;
pub mod hedge;
pub mod open;
pub mod queue;
pub mod retry;
pub mod store;

/// A future of a queue or store operation.
pub type ServiceFuture<'a, T> = BoxFuture<'a, Result<T, ServiceError>>;
