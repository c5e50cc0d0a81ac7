//! What bounds work in flight. Nothing moves the bounds here.

#[path = "../../../src/capacity/budget/mod.rs"]
pub mod budget;
#[path = "../../../src/capacity/limit.rs"]
pub mod limit;

/// In the place of batchpipe's. There is none: a fixed number of jobs has no tuner.
pub mod tuner {
    use std::convert::Infallible;
    use std::sync::Arc;

    use batchpipe::capacity::limit::Lane;

    use super::limit::Limit;

    #[derive(Clone, Debug)]
    pub struct Tuner(Infallible);

    impl Tuner {
        pub(crate) fn jobs(&self) -> &Arc<Limit> {
            match self.0 {}
        }

        pub(crate) fn reads(&self) -> Lane {
            match self.0 {}
        }

        pub(crate) fn writes(&self) -> Lane {
            match self.0 {}
        }

        pub(crate) async fn run(self) {
            match self.0 {}
        }
    }
}
