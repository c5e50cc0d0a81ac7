//! The clients of S3 and SQS, and what each adds to the shared configuration.
//!
//! A client has connections of its own. The clients do not retry, because the stages do; a client of SQS waits longer
//! than a long poll.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, retry::RetryConfig};

use super::agent::Agent;
use super::{Aws, CONNECT_TIMEOUT, headers, http, whole};

/// The longest that SQS holds a long poll is 20 s
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>); the client must
/// wait longer than this for a response.
const QUEUE_READ_TIMEOUT: Duration = Duration::from_secs(25);

/// The longest time for a call of SQS including its whole response, because a response may begin at once and then never
/// end. It allows a long poll of 20 s, and 61 MiB at 2 MiB/s, the slowest rate that is worth waiting for.
const QUEUE_CALL_TIMEOUT: Duration = Duration::from_secs(60);

impl Aws {
    /// A client for S3. It adds no checksum by itself, because the adapter sends the checksum that it has computed.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        use aws_sdk_s3::config::{Builder, RequestChecksumCalculation, ResponseChecksumValidation};
        let mut config = Builder::from(&self.config)
            .retry_config(RetryConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenSupported)
            .interceptor(Agent::new("s3", aws_sdk_s3::meta::PKG_VERSION, self.config.app_name()))
            .interceptor(headers::LeaveOut { elsewhere: self.s3_endpoint.is_some() })
            .interceptor(whole::Whole)
            .force_path_style(self.s3_endpoint.is_some());
        if let Some(endpoint) = &self.s3_endpoint {
            config = config.endpoint_url(&endpoint.url);
        }
        aws_sdk_s3::Client::from_conf(config.build())
    }

    /// A client for the SQS of `region`, reached at `url` unless an endpoint is configured, with connections of its
    /// own and a read timeout that outlasts a long poll.
    pub fn sqs(&self, region: &str, url: Option<&str>) -> aws_sdk_sqs::Client {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(QUEUE_READ_TIMEOUT)
            .operation_timeout(QUEUE_CALL_TIMEOUT);
        let mut config = aws_sdk_sqs::config::Builder::from(&self.config)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.build())
            .interceptor(Agent::new("sqs", aws_sdk_sqs::meta::PKG_VERSION, self.config.app_name()))
            .region(Region::new(region.to_owned()))
            .http_client(http::http_client());
        if let Some(url) = self.sqs_endpoint.as_ref().map(|endpoint| endpoint.url.as_str()).or(url) {
            config = config.endpoint_url(url);
        }
        aws_sdk_sqs::Client::from_conf(config.build())
    }
}

/// The same SQS client with connections of its own, for another runtime: a connection is driven by the runtime it
/// was opened on.
pub(crate) fn with_own_connections(client: &aws_sdk_sqs::Client) -> aws_sdk_sqs::Client {
    aws_sdk_sqs::Client::from_conf(client.config().to_builder().http_client(http::http_client()).build())
}
