//! A link ends only as its writer ends, and a full link makes its writer wait.

use futures::FutureExt;

use super::*;
use crate::record::Meters;

fn joined() -> (Outlet, Inlet) {
    let meters = Arc::new(Meters::default());
    link(&meters.turn(Stage::Download), &meters.turn(Stage::Upload))
}

#[tokio::test]
async fn a_writer_that_is_dropped_midway_is_never_the_end_of_the_data() {
    let (outlet, mut inlet) = joined();
    outlet.send(Bytes::from_static(b"half")).await.unwrap();
    drop(outlet);
    assert_eq!(inlet.recv().await, Ok(Some(Bytes::from_static(b"half"))));
    assert_eq!(inlet.recv().await, Err(Disconnected));
}

#[tokio::test]
async fn a_finished_stream_ends_and_goes_on_being_ended() {
    let (outlet, mut inlet) = joined();
    outlet.send(Bytes::new()).await.unwrap();
    outlet.finish().await.unwrap();
    inlet.ready().await.unwrap();
    assert_eq!(inlet.recv().await, Ok(None));
    assert_eq!(inlet.recv().await, Ok(None));
}

#[tokio::test]
async fn a_writer_that_is_gone_is_noticed_before_what_it_sent_has_been_read_unless_it_had_finished() {
    for finishes in [false, true] {
        let (outlet, mut inlet) = joined();
        let mut broken = Box::pin(inlet.broken());
        outlet.send(Bytes::from_static(b"half")).await.unwrap();
        assert!((&mut broken).now_or_never().is_none());
        if finishes {
            outlet.finish().await.unwrap();
        } else {
            drop(outlet);
        }
        assert_eq!(broken.now_or_never().is_some(), !finishes);
        assert!(inlet.recv().await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_stops_its_writer() {
    let (outlet, inlet) = joined();
    drop(inlet);
    assert_eq!(outlet.send(Bytes::from_static(b"x")).await, Err(Disconnected));
    outlet.closed().await;
}
