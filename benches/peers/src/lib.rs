//! What the programs of `benches/peers/run` share: the bytes of every object, and the allocator.

pub mod ring;

/// batchpipe's own: the bare SDK loop is to show what the SDK costs, and not what glibc does.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
