//! What the programs of `benches/peers/run` share: the bytes of every object.

pub mod ring;
