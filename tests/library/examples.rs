//! The programs in `examples/` do what they say. Each is compiled into this binary and run, because a program of its
//! own would link the SDKs once more. Each checks its own results.

#[path = "../../examples/async_processor.rs"]
mod async_processor;
#[path = "../../examples/custom_store.rs"]
mod custom_store;
#[path = "../../examples/fifo_groups.rs"]
mod fifo_groups;
#[path = "../../examples/own_metrics.rs"]
mod own_metrics;
#[path = "../../examples/test_a_processor.rs"]
mod test_a_processor;
#[path = "../../examples/worker.rs"]
mod worker;

#[test]
fn a_closure_works_through_a_queue_in_a_file() {
    worker::main().unwrap();
}

#[test]
fn an_async_processor_waits_for_another_service() {
    async_processor::main().unwrap();
}

#[test]
fn a_store_of_ones_own_keeps_a_list_of_what_was_written() {
    custom_store::main().unwrap();
}

#[test]
fn groups_are_worked_in_order() {
    fifo_groups::main().unwrap();
}

#[test]
fn a_processor_is_tested_on_bytes_in_memory() {
    test_a_processor::main().unwrap();
}

#[test]
fn metrics_arrive_in_ones_own_recorder_and_a_handle_stops_the_worker() {
    own_metrics::main().unwrap();
}
