//! The S3 half: reads from the ring, writes that are summed and forgotten.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use batchpipe_peers::ring;
use bytes::Bytes;
use crc_fast::CrcAlgorithm::Crc64Nvme;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::{Body, Failure, body, text};

/// Not the look of an MD5, so that no client compares it with one.
const ETAG: &str = "\"null-sink\"";

/// Bodies up to this length are kept, one of each content, so that outputs which are not copies can be looked at.
const KEPT_LENGTH: usize = 1024 * 1024;

/// How many contents are kept.
const KEPT: usize = 64;

/// What is known of some bytes: how many, and their sum.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Sum {
    size: u64,
    crc: u64,
}

pub(crate) struct Objects {
    ring: Bytes,
    written: Mutex<HashMap<String, Sum>>,
    contents: Mutex<HashMap<Sum, Bytes>>,
    parts: Mutex<HashMap<String, BTreeMap<u32, Sum>>>,
    uploads: AtomicU64,
}

impl Objects {
    pub(crate) fn new() -> Self {
        Self {
            ring: ring::make(),
            written: Mutex::default(),
            contents: Mutex::default(),
            parts: Mutex::default(),
            uploads: AtomicU64::new(0),
        }
    }

    pub(crate) fn reset(&self) {
        lock(&self.written).clear();
        lock(&self.contents).clear();
        lock(&self.parts).clear();
    }

    /// What was written: how many objects, how many of them are not a copy of what their key says, and of each content
    /// how often it was written and one of its keys.
    pub(crate) fn check(&self) -> Value {
        let written = lock(&self.written);
        let mut expected: HashMap<u64, u64> = HashMap::new();
        let mut wrong = Vec::new();
        let mut kinds: HashMap<Sum, (&String, u64)> = HashMap::new();
        for (key, sum) in written.iter() {
            let right = size_of(key).is_some_and(|size| {
                let crc = *expected.entry(size).or_insert_with(|| ring::sum(&self.ring, size));
                *sum == Sum { size, crc }
            });
            if !right {
                wrong.push(key);
            }
            kinds.entry(*sum).or_insert((key, 0)).1 += 1;
        }
        let bytes: u64 = written.values().map(|sum| sum.size).sum();
        let open = lock(&self.parts).len();
        let kinds: Vec<Value> =
            kinds.values().take(KEPT).map(|(key, objects)| json!({"key": key, "objects": objects})).collect();
        json!({"objects": written.len(), "bytes": bytes, "wrong": wrong.len(), "open_uploads": open, "kinds": kinds,
               "examples": &wrong[..wrong.len().min(3)]})
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number in a key that is its size.
fn size_of(key: &str) -> Option<u64> {
    key.split('/').find_map(|word| word.parse().ok())
}

pub(crate) async fn answer(objects: &Objects, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
    let query: HashMap<String, String> = request.uri().query().unwrap_or_default().split('&').map(pair).collect();
    let (bucket, key) = request.uri().path().trim_start_matches('/').split_once('/').unwrap_or_default();
    let (bucket, key) = (bucket.to_owned(), key.to_owned());
    let upload = query.get("uploadId").cloned();
    let method = request.method().clone();
    match (method, upload) {
        // Buckets exist, and list as empty.
        (Method::GET, _) if key.is_empty() => Ok(text(
            StatusCode::OK,
            "<?xml version=\"1.0\"?><ListBucketResult><KeyCount>0</KeyCount>\
            <IsTruncated>false</IsTruncated></ListBucketResult>",
        )),
        (_, _) if key.is_empty() => Ok(text(StatusCode::OK, "")),
        (Method::GET, _) => objects.get(&key, &request, false),
        (Method::HEAD, _) => objects.get(&key, &request, true),
        (Method::PUT, upload) => {
            let (sum, content) = receive(request).await?;
            match upload {
                Some(id) => {
                    let number = query.get("partNumber").ok_or("no part number")?.parse()?;
                    lock(&objects.parts).entry(id).or_default().insert(number, sum);
                }
                None => objects.put(key, sum, content),
            }
            Ok(tagged(text(StatusCode::OK, "")))
        }
        (Method::POST, None) => {
            let id = objects.uploads.fetch_add(1, Relaxed).to_string();
            lock(&objects.parts).insert(id.clone(), BTreeMap::new());
            Ok(text(
                StatusCode::OK,
                &format!(
                    "<?xml version=\"1.0\"?><InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{key}</Key>\
                    <UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                ),
            ))
        }
        (Method::POST, Some(id)) => {
            request.into_body().collect().await?;
            objects.complete(&id, &key)?;
            Ok(text(
                StatusCode::OK,
                &format!(
                    "<?xml version=\"1.0\"?><CompleteMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{key}</Key>\
                    <ETag>&quot;null-sink&quot;</ETag></CompleteMultipartUploadResult>"
                ),
            ))
        }
        (Method::DELETE, Some(id)) => {
            lock(&objects.parts).remove(&id);
            Ok(text(StatusCode::NO_CONTENT, ""))
        }
        (method, _) => Err(format!("{method} is not served").into()),
    }
}

impl Objects {
    fn put(&self, key: String, sum: Sum, content: Bytes) {
        let mut contents = lock(&self.contents);
        if content.len() as u64 == sum.size && contents.len() < KEPT {
            contents.entry(sum).or_insert(content);
        }
        lock(&self.written).insert(key, sum);
    }

    /// Makes the object of an upload's parts.
    fn complete(&self, id: &str, key: &str) -> Result<(), Failure> {
        let parts = lock(&self.parts).remove(id).ok_or("no such upload")?;
        let sum = parts.values().fold(Sum { size: 0, crc: crc_fast::checksum(Crc64Nvme, &[]) }, |whole, part| Sum {
            size: whole.size + part.size,
            crc: crc_fast::checksum_combine(Crc64Nvme, whole.crc, part.crc, part.size),
        });
        lock(&self.written).insert(key.to_owned(), sum);
        Ok(())
    }

    fn get(&self, key: &str, request: &Request<Incoming>, head: bool) -> Result<Response<Body>, Failure> {
        let written = lock(&self.written).get(key).and_then(|sum| lock(&self.contents).get(sum).cloned());
        let size = match &written {
            Some(content) => content.len() as u64,
            None => size_of(key).ok_or("a key needs a size")?,
        };
        let asked = request.headers().get("range").and_then(|range| range.to_str().ok());
        let range = match asked.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) {
            Some((first, last)) => {
                let last = if last.is_empty() { u64::MAX } else { last.parse()? };
                first.parse::<u64>()?..last.saturating_add(1).min(size)
            }
            None => 0..size,
        };
        if asked.is_some() && range.is_empty() {
            return Ok(text(StatusCode::RANGE_NOT_SATISFIABLE, ""));
        }
        let chunks = match (head, written) {
            (true, _) => Vec::new(),
            (false, Some(content)) => vec![content.slice(range.start as usize..range.end as usize)],
            (false, None) => ring::slices(&self.ring, range.start, range.end),
        };
        let mut response = tagged(Response::new(body(chunks)));
        response.headers_mut().insert("content-length", (range.end - range.start).into());
        response.headers_mut().insert("last-modified", HeaderValue::from_static("Tue, 24 Nov 2026 00:00:00 GMT"));
        if asked.is_some() {
            let range = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            response.headers_mut().insert("content-range", HeaderValue::from_str(&range)?);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        Ok(response)
    }
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

fn tagged(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert("etag", HeaderValue::from_static(ETAG));
    response
}

/// Sums a body; keeps it too while it is short.
async fn receive(request: Request<Incoming>) -> Result<(Sum, Bytes), Failure> {
    let framed = request.headers().contains_key("x-amz-decoded-content-length");
    let mut incoming = request.into_body();
    let (mut digest, mut size, mut kept) = (crc_fast::Digest::new(Crc64Nvme), 0, Vec::new());
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if framed || kept.len() + data.len() <= KEPT_LENGTH {
            kept.extend_from_slice(&data);
        }
        digest.update(&data);
        size += data.len() as u64;
    }
    if framed {
        let content = unframe(&kept).ok_or("a body that is not aws-chunked")?;
        return Ok((Sum { size: content.len() as u64, crc: crc_fast::checksum(Crc64Nvme, &content) }, content.into()));
    }
    let content = if kept.len() as u64 == size { kept } else { Vec::new() };
    Ok((Sum { size, crc: digest.finalize() }, content.into()))
}

/// Takes the chunks out of an `aws-chunked` body: `HEX[;signature]\r\n` bytes `\r\n`, ended by a chunk of zero.
fn unframe(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::with_capacity(rest.len());
    loop {
        let line = rest.iter().position(|byte| *byte == b'\r')?;
        let size = std::str::from_utf8(&rest[..line]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(content);
        }
        content.extend_from_slice(rest.get(line + 2..line + 2 + size)?);
        rest = rest.get(line + 2 + size + 2..)?;
    }
}
