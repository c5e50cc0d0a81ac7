//! The recorder of the program: Prometheus, without its own listener, which would be open to the world and without
//! limits. `listener.rs` serves the numbers.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::export::{describe, each_second_and};
use super::{Running, Sources};

/// The Prometheus recorder with our buckets: durations from 1 ms to 1 h in steps of 2.5, ages up to the 14 days
/// an SQS message can live, sizes from 1 KiB to 64 GiB in steps of 8. Without buckets it would make summaries,
/// which cannot be added up over machines.
pub fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let mut durations: Vec<f64> = (0..17).map(|step| 0.001 * 2.5_f64.powi(step)).collect();
    durations.push(3600.0);
    let mut ages = durations.clone();
    ages.extend([14_400.0, 86_400.0, 345_600.0, 1_209_600.0]);
    let mut sizes: Vec<f64> = (0..9).map(|step| 1024.0 * 8_f64.powi(step)).collect();
    sizes.push(64.0 * 1024.0 * 1024.0 * 1024.0);
    let batches: Vec<f64> = (1..=10).map(f64::from).collect();
    let receives = [1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 50.0, 100.0];
    let full = |name: &str| Matcher::Full(name.into());
    Ok(PrometheusBuilder::new()
        .set_buckets(&durations)?
        .set_buckets_for_metric(full("batchpipe_message_age_seconds"), &ages)?
        .set_buckets_for_metric(full("batchpipe_object_size_bytes"), &sizes)?
        .set_buckets_for_metric(full("batchpipe_ack_batch_size"), &batches)?
        .set_buckets_for_metric(full("batchpipe_receive_count"), &receives)?
        .build_recorder())
}

/// Makes the Prometheus recorder the one of this process. For the binary only; fails if there is one already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let recorder = recorder()?;
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder)?;
    describe();
    Ok(handle)
}

/// Exports each second until dropped, and folds the observations of our own recorder if it is installed.
pub fn export_each_second(sources: Sources, prometheus: Option<PrometheusHandle>) -> Running {
    each_second_and(sources, move || {
        if let Some(prometheus) = &prometheus {
            prometheus.run_upkeep();
        }
    })
}
