//! What the flow promises, one sentence a test, on twins in memory. Real time, because processors run on real threads;
//! each run lasts tens of milliseconds where nothing has to be waited for.

mod ahead;
mod bounds;
mod bytes;
mod fairness;
mod figures;
mod leases;
mod leftovers;
mod lines;
mod outputs;
mod panics;
mod processors;
mod records;
mod refusals;
mod settling;
mod silent;
mod stopping;
mod submitting;
mod told;
mod tuning;
mod work;
