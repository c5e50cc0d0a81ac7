//! How fast zstd itself is: 1 MiB after 1 MiB in memory with a checksum, as `--process zstd:LEVEL` asks of it.
//!
//! `codec_speed LEVEL THREADS COUNT` compresses COUNT times on each thread and prints the seconds that passed and the CPU
//! seconds that they cost. The limit for compressing jobs: no network, no queue, one context that is used again.

use std::time::Instant;

use batchpipe_peers::ring;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use zstd::bulk::Compressor;

/// The size of an object compared.
const SIZE: u64 = 1024 * 1024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|word| word.parse()).collect::<Result<_, _>>()?;
    let &[level, threads, count] = arguments.as_slice() else {
        return Err("usage: codec_speed LEVEL THREADS COUNT".into());
    };
    let source = ring::slices(&ring::make(), 0, SIZE).concat();
    let (began, before) = (Instant::now(), cpu()?);
    std::thread::scope(|scope| {
        let working: Vec<_> = (0..threads).map(|_| scope.spawn(|| compress(&source, level as i32, count))).collect();
        working
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?.map_err(|_| "zstd failed"))
    })?;
    println!("{} {}", began.elapsed().as_secs_f64(), cpu()? - before);
    Ok(())
}

fn compress(source: &[u8], level: i32, count: usize) -> std::io::Result<()> {
    let mut compressor = Compressor::new(level)?;
    compressor.include_checksum(true)?;
    let mut output = Vec::with_capacity(zstd::zstd_safe::compress_bound(source.len()));
    for _ in 0..count {
        output.clear();
        std::hint::black_box(compressor.compress_to_buffer(source, &mut output)?);
    }
    Ok(())
}

fn cpu() -> nix::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok((usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6)
}
