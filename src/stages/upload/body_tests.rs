//! How chunks become bodies and parts, and how their memory is counted.

use super::*;
use crate::capacity::budget::{Budget, LINK_BYTES};
use crate::error::Stage;
use crate::link::{Kept, Outlet, WRITE_CHUNK, link};
use crate::record::Meters;

const CHUNK: u64 = WRITE_CHUNK as u64;
const SMALL: u64 = 64 * 1024;

fn joined() -> (Outlet, Body) {
    let meters = Arc::new(Meters::default());
    let (outlet, inlet) = link(&meters.turn(Stage::Process), &meters.turn(Stage::Upload));
    (outlet, Body::new(inlet))
}

fn chunk(length: u64) -> Bytes {
    Bytes::from(vec![7; length as usize])
}

/// A processor that ends when its upload has taken these, at its first chance.
async fn sends(outlet: Outlet, chunks: Vec<Bytes>) {
    tokio::spawn(async move {
        for chunk in chunks {
            outlet.send(chunk).await.unwrap();
        }
        outlet.finish().await.unwrap();
    });
    tokio::task::yield_now().await;
}

/// The next part, if it is there without waiting.
fn next(body: &mut Body, room: &Room) -> Option<Option<Bytes>> {
    body.part(room, room.part()).now_or_never().map(Result::unwrap)
}

/// A job beside others that have all the rest of the budget: nothing is free for it.
fn all_but(budget: &Arc<Budget>, size: u64) -> (Room, impl Sized) {
    let (room, other) = (budget.try_admit(Some(size)).unwrap(), budget.try_admit(None).unwrap());
    let mut more = Vec::new();
    for bytes in [SMALL, 1024, 1] {
        more.extend(std::iter::from_fn(|| other.try_more(bytes)));
    }
    assert_eq!(budget.reserved(), budget.total());
    (room, (other, more))
}

#[tokio::test]
async fn a_processors_chunks_as_long_as_parts_are_on_their_way_only_in_room_of_their_own() {
    let budget = Budget::new(2 * SMALL, SMALL);
    let room = budget.admit(None).await;
    let (outlet, mut body) = joined();
    sends(outlet, vec![chunk(CHUNK), chunk(SMALL), chunk(10)]).await;
    let mut part = next(&mut body, &room).unwrap().unwrap();
    let mut written = part.len() as u64;
    while !body.ended {
        body.begun = true;
        let mut coming = Box::pin(body.part(&room, SMALL));
        assert!((&mut coming).now_or_never().is_none(), "two parts are on their way in room for one");
        drop(part);
        part = coming.await.unwrap().unwrap();
        written += part.len() as u64;
    }
    assert_eq!(written, CHUNK + SMALL + 10);
}

#[tokio::test]
async fn what_holds_its_room_and_what_is_all_there_is_passes_uncopied() {
    let budget = Budget::new(16 * CHUNK, SMALL);
    let room = budget.admit(Some(SMALL + 10)).await;
    let (outlet, mut body) = joined();
    let range = room.read(SMALL).await.hold(chunk(SMALL));
    outlet.send_counted(range.clone()).await.unwrap();
    outlet.send(chunk(10)).await.unwrap();
    assert_eq!(next(&mut body, &room).unwrap().unwrap().as_ptr(), range.as_ptr());

    let (outlet, mut body) = joined();
    let (only, before) = (chunk(SMALL - 1), budget.reserved());
    outlet.send(only.clone()).await.unwrap();
    outlet.finish().await.unwrap();
    assert_eq!(next(&mut body, &room).unwrap().unwrap().as_ptr(), only.as_ptr());
    assert_eq!(budget.reserved(), before);
}

#[tokio::test]
async fn a_tiny_inputs_only_chunk_has_as_much_room_as_it_is_long() {
    let budget = Budget::new(16 * CHUNK, 4 * CHUNK);
    let send = async || {
        let (outlet, body) = joined();
        outlet.send(chunk(CHUNK)).await.unwrap();
        outlet.finish().await.unwrap();
        body
    };
    let room = budget.admit(Some(10)).await;
    let at_work = room.try_lend();
    let part = next(&mut send().await, &room).unwrap().unwrap();
    drop(at_work);
    assert!((CHUNK..2 * CHUNK).contains(&budget.reserved()), "{} bytes for {CHUNK}", budget.reserved());
    drop((part, room));
    assert_eq!(budget.reserved(), 0);

    let (room, others) = all_but(&budget, 10);
    let mut body = send().await;
    assert!(next(&mut body, &room).is_none(), "it was sent in room for {SMALL} bytes");
    drop(others);
}

#[tokio::test]
async fn a_processor_is_ahead_of_its_upload_by_what_is_counted_for_it_and_no_more() {
    let budget = Budget::new(64 * CHUNK, 4 * CHUNK);
    let (room, _others) = all_but(&budget, 16 * CHUNK);
    let _on_its_way = room.write(CHUNK).await;
    let (outlet, mut body) = joined();
    let mut part = Box::pin(body.part(&room, room.part()));
    let mut made = CHUNK;
    while outlet.send(chunk(CHUNK)).now_or_never().is_some() {
        made += CHUNK;
        assert!((&mut part).now_or_never().is_none(), "two parts are on their way in room for one");
    }
    assert_eq!(made, LINK_BYTES);
}

#[tokio::test]
async fn what_a_processor_was_lent_goes_when_its_output_is_used_up_and_not_when_it_ends() {
    for (size, is_small) in [(10, true), (CHUNK, false)] {
        let budget = Budget::new(24 * CHUNK, 4 * CHUNK);
        let room = budget.admit(Some(10)).await;
        let (small, lent) = (budget.reserved(), Arc::new(room.try_lend().unwrap()));
        let (outlet, mut body) = joined();
        outlet.keep(Arc::clone(&lent) as Kept).await.unwrap();
        outlet.send(chunk(size)).await.unwrap();
        let mut part = Box::pin(body.part(&room, room.part()));
        assert!((&mut part).now_or_never().is_none(), "there is no telling whether it is the last");
        if !is_small {
            outlet.send(chunk(CHUNK)).await.unwrap();
        }
        let before = budget.reserved();
        outlet.finish().await.unwrap();
        drop(lent);
        assert_eq!(budget.reserved(), before, "given back while its chunks are in the link");
        let part = part.now_or_never().expect("it has its room").unwrap().unwrap();
        assert_eq!(part.len() as u64, if is_small { size } else { 2 * CHUNK });
        assert_eq!(budget.reserved() == small, is_small, "{} bytes", budget.reserved());
    }
}

#[tokio::test]
async fn a_first_chunk_that_is_too_long_is_not_copied_before_there_is_room_for_it() {
    let budget = Budget::new(24 * CHUNK, 4 * CHUNK);
    let (room, others) = all_but(&budget, 10);
    let (outlet, mut body) = joined();
    let first = chunk(CHUNK);
    sends(outlet, vec![first.clone(), chunk(CHUNK)]).await;
    {
        let mut part = Box::pin(body.part(&room, room.part()));
        assert!((&mut part).now_or_never().is_none());
        assert!(!first.is_unique(), "it was copied into room for {SMALL} bytes");
        drop(others);
        assert_eq!(part.await.unwrap().unwrap().len() as u64, 2 * CHUNK);
    }
    assert!(first.is_unique() && room.has(4 * CHUNK));
}
