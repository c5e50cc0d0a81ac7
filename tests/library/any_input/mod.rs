//! What holds of any input whatever, one file a kind. The replay of the corpus and the fuzz targets share it.

pub(crate) mod journal;
pub(crate) mod letter;
pub(crate) mod place;
pub(crate) mod range;
pub(crate) mod transfer;
pub(crate) mod value;
