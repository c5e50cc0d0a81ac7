//! How fast zstd itself is: 1 MiB after 1 MiB in memory with a checksum, as `--process zstd:LEVEL` asks of it.
//!
//! `codec_speed LEVEL THREADS COUNT` compresses COUNT times on each thread and prints the seconds that passed and the
//! CPU seconds that they cost. The limit for compressing jobs: no network, no queue, one context that is used again.
//! The inputs lie apart in more memory than the caches hold, as those of jobs do.
//!
//! `codec_speed LEVEL THREADS FROM TO` does the same to each file in the directory FROM, and nothing more than any
//! program must that wants whole files in the directory TO: it reads them into memory that it has, and writes each
//! under another name, syncs it, gives it its own, and syncs that. No queue, no record of what was done, no second try.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use batchpipe_peers::ring;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use zstd::bulk::Compressor;

/// The size of an object compressed in memory.
const SIZE: usize = 1024 * 1024;
/// How many of them lie apart: four times what the last cache of a small machine holds.
const INPUTS: usize = 128;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (wall, used) = match words.as_slice() {
        [level, threads, count] => in_memory(level.parse()?, threads.parse()?, count.parse()?)?,
        [level, threads, from, to] => on_files(level.parse()?, threads.parse()?, Path::new(from), Path::new(to))?,
        _ => return Err("usage: codec_speed LEVEL THREADS (COUNT | FROM TO)".into()),
    };
    println!("{wall} {used}");
    Ok(())
}

fn in_memory(level: i32, threads: usize, count: usize) -> Result<(f64, f64), Failure> {
    let source = ring::slices(&ring::make(), 0, SIZE as u64).concat();
    let sources = vec![source; INPUTS];
    timed(threads, |thread| {
        let mut codec = Codec::new(level)?;
        for turn in 0..count {
            std::hint::black_box(codec.compress(&sources[(turn * threads + thread) % INPUTS])?);
        }
        Ok(())
    })
}

fn on_files(level: i32, threads: usize, from: &Path, to: &Path) -> Result<(f64, f64), Failure> {
    let files: Vec<PathBuf> = fs::read_dir(from)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    let next = AtomicUsize::new(0);
    timed(threads, |thread| {
        let (mut codec, mut input) = (Codec::new(level)?, Vec::new());
        let staged = to.join(format!(".{thread}"));
        while let Some(file) = files.get(next.fetch_add(1, Relaxed)) {
            input.clear();
            File::open(file)?.read_to_end(&mut input)?;
            let mut output = File::create(&staged)?;
            output.write_all(codec.compress(&input)?)?;
            output.sync_all()?;
            let name = file.file_name().ok_or("a file without a name")?.to_string_lossy();
            fs::rename(&staged, to.join(format!("{name}.zst")))?;
            File::open(to)?.sync_all()?;
        }
        Ok(())
    })
}

/// Runs `work` on each thread; the seconds that passed, and those of CPU.
fn timed(threads: usize, work: impl Fn(usize) -> Result<(), Failure> + Sync) -> Result<(f64, f64), Failure> {
    let (began, before) = (Instant::now(), cpu()?);
    std::thread::scope(|scope| {
        let work = &work;
        let working: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        working.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })?;
    Ok((began.elapsed().as_secs_f64(), cpu()? - before))
}

struct Codec(Compressor<'static>, Vec<u8>);

impl Codec {
    fn new(level: i32) -> std::io::Result<Self> {
        let mut compressor = Compressor::new(level)?;
        compressor.include_checksum(true)?;
        Ok(Self(compressor, Vec::new()))
    }

    fn compress(&mut self, source: &[u8]) -> std::io::Result<&[u8]> {
        let Self(compressor, output) = self;
        output.clear();
        output.reserve(zstd::zstd_safe::compress_bound(source.len()));
        compressor.compress_to_buffer(source, output)?;
        Ok(output)
    }
}

fn cpu() -> nix::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok((usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6)
}
