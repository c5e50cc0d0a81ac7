//! Buffers are reused across jobs, and never use memory that was granted to another job.

use futures::FutureExt;

use super::super::*;
use super::PART;

/// A buffer for `bytes`, filled with ones, and the byte that was in it before, which is zero in a new mapping. (The
/// address would prove nothing, because a new mapping may get the address of an old one.)
fn filled(claim: &mut Claim, bytes: u64) -> (u8, Buffer) {
    let mut buffer = claim.buffer(bytes as usize);
    let before = buffer.unfilled()[0];
    buffer.read_from(std::io::repeat(1), bytes as usize).unwrap();
    (before, buffer)
}

fn spare(budget: &Budget) -> u64 {
    budget.lock().spare.bytes()
}

#[test]
fn a_buffer_of_a_part_is_used_again_and_never_beyond_what_is_free() {
    let budget = Budget::new(4 * PART, PART);
    let room = budget.try_admit(Some(PART)).unwrap();
    let mut own = room.try_read(PART).unwrap();
    let (before, buffer) = filled(&mut own, PART);
    assert_eq!(before, 0, "it is new");
    let held = own.hold_buffer(buffer);
    let slice = held.slice(1..2);
    drop(held);
    assert_eq!(slice[0], 1, "a slice keeps the bytes");
    drop(slice);
    let mut again = room.try_read(PART).unwrap();
    let (before, buffer) = filled(&mut again, PART);
    assert_eq!(before, 1, "the buffer comes back");
    drop(again.hold_buffer(buffer));
    assert!(room.try_read(100).unwrap().buffer(100).capacity() < PART as usize, "for little it is too long");
    let mut more = room.try_read(PART).unwrap();
    let (_, buffer) = filled(&mut more, PART);
    drop(more.hold_buffer(buffer));
    assert_eq!(spare(&budget), 0, "it is in the job's own room");
    drop(room);
    assert_eq!(spare(&budget), PART, "it waits in what is free");
    let _rooms: Vec<Room> = std::iter::from_fn(|| budget.try_admit(None)).collect();
    assert!(spare(&budget) <= budget.total() - budget.reserved(), "and goes when that is given away");
}

#[test]
fn a_whole_jobs_two_buffers_stay_its_own() {
    let budget = Budget::new(16 * PART, PART);
    let room = budget.try_admit(None).unwrap();
    for expected in [0, 1] {
        let mut claims = [room.try_read(PART).unwrap(), room.write(PART).now_or_never().unwrap()];
        let held: Vec<(u8, Buffer)> = claims.iter_mut().map(|claim| filled(claim, PART)).collect();
        assert!(held.iter().all(|(before, _)| *before == expected));
        drop(claims.into_iter().zip(held).map(|(claim, (_, buffer))| claim.hold_buffer(buffer)).collect::<Vec<_>>());
        assert_eq!(spare(&budget), 0, "neither lies in room that is free");
    }
}

#[test]
fn a_buffer_of_a_part_fits_in_a_small_jobs_room_once_that_has_grown() {
    let budget = Budget::new(16 * PART, PART);
    let room = budget.try_admit(Some(10)).unwrap();
    room.grow().now_or_never().unwrap();
    let mut own = room.write(PART).now_or_never().unwrap();
    let (_, buffer) = filled(&mut own, PART);
    drop(own.hold_buffer(buffer));
    assert_eq!(spare(&budget), 0, "it is in the job's own room");
}

#[test]
fn a_short_buffer_of_a_large_job_is_anybodys() {
    let budget = Budget::new(16 * PART, PART);
    let room = budget.try_admit(None).unwrap();
    let mut own = room.try_read(PART / 4).unwrap();
    let (_, buffer) = filled(&mut own, PART / 4);
    drop(own.hold_buffer(buffer));
    assert_eq!(spare(&budget), PART / 4);
}

#[test]
fn a_buffer_that_must_make_way_goes_with_the_room_it_lay_in() {
    let budget = Budget::new(8 * PART, PART);
    let large = budget.try_admit(None).unwrap();
    let before = budget.try_admit(Some(PART)).unwrap();
    let mut own = before.try_read(PART).unwrap();
    let (_, buffer) = filled(&mut own, PART);
    drop((own.hold_buffer(buffer), before));
    assert_eq!(spare(&budget), PART);
    let mut claims: Vec<Claim> = std::iter::from_fn(|| large.try_more(PART)).collect();
    assert_eq!(spare(&budget), 0, "there is no free room for it any more");
    let seen: Vec<u8> = claims.iter_mut().map(|claim| filled(claim, PART).0).collect();
    assert_eq!(seen, [0, 0, 0, 1]);
}

#[test]
fn a_buffer_that_no_longer_fits_in_its_jobs_room_is_anybodys() {
    let budget = Budget::new(16 * PART, PART);
    let room = budget.try_admit(None).unwrap();
    let mut own = room.try_read(PART).unwrap();
    let (_, buffer) = filled(&mut own, PART);
    room.fit(100);
    drop(own.hold_buffer(buffer));
    assert_eq!(spare(&budget), PART);
    let next = budget.try_admit(Some(PART)).unwrap();
    assert_eq!(filled(&mut next.try_read(PART).unwrap(), PART).0, 1);
}

#[test]
fn a_shorter_buffer_is_used_again_by_the_next_job_for_as_much_and_not_for_less() {
    let budget = Budget::new(64 * PART, PART);
    let third = spare::length(PART / 3);
    let used = |size: u64| {
        let room = budget.try_admit(Some(size)).unwrap();
        let mut claim = room.try_read(size).unwrap();
        let (before, buffer) = filled(&mut claim, size);
        let capacity = buffer.capacity() as u64;
        drop(claim.hold_buffer(buffer));
        (before, capacity)
    };
    assert_eq!(used(third), (0, third));
    assert_eq!(used(third), (1, third));
    assert_eq!(used(third - 1_000), (1, third));
    let (before, capacity) = used(third / 2);
    assert!(before == 0 && capacity < third, "it would hold more than its room");
    let rooms: Vec<Room> = std::iter::from_fn(|| budget.try_admit(Some(third))).collect();
    let free = budget.total() - budget.reserved();
    assert!(rooms.len() > 50 && spare(&budget) <= free, "it goes when its room is given away");
}

#[test]
fn no_buffer_is_longer_than_the_room_that_was_given_for_it() {
    let budget = Budget::new(64 * PART, PART);
    for size in (1..2 * PART).step_by(10_007).chain([PART / 2, PART / 2 + 1, PART - 1, PART]) {
        let room = budget.try_admit(Some(size)).unwrap();
        let (read, write) = budget.minimum(Some(size));
        assert_eq!(budget.reserved(), read + write);
        let mut own = room.try_read(size.min(PART)).unwrap();
        let buffer = own.buffer(size.min(PART) as usize);
        assert!((size.min(PART)..=read).contains(&(buffer.capacity() as u64)), "{size}: {}", buffer.capacity());
        // The other half of a small write room belongs to the link.
        let output = own.buffer(room.write_size() as usize).capacity() as u64;
        assert!(output <= if write == budget.full { PART } else { write / 2 }, "{size}: {output} of {write}");
        let mut more = room.try_more(size).unwrap();
        let granted = budget.reserved() - read - write;
        let buffer = more.buffer(size as usize);
        assert!((size..=granted).contains(&(buffer.capacity() as u64)), "{size}: {} of {granted}", buffer.capacity());
    }
}

#[test]
fn most_of_a_part_has_a_buffer_for_a_whole_one_which_any_other_can_use() {
    let budget = Budget::new(16 * PART, PART);
    let capacity =
        |size: u64| budget.try_admit(None).unwrap().try_read(size).unwrap().buffer(size as usize).capacity() as u64;
    assert_eq!([PART / 2 + 1, PART - 1, PART].map(capacity), [PART; 3]);
    assert_eq!(capacity(PART / 2), PART / 2);
}

#[test]
fn a_small_buffer_is_made_to_measure() {
    let budget = Budget::new(4 * PART, PART);
    let room = budget.try_admit(Some(100)).unwrap();
    assert!(room.try_read(100).unwrap().buffer(100).capacity() < PART as usize);
}
