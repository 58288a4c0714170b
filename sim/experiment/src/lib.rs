//! What an experiment is made of, whichever engine runs it.
//!
//! - [`experiment`]: a question: design, machine, pages, who does what, seed. Everything that decides the answer.
//! - [`imagined`]: parts that the hardware does not have, for the fast engine.
//! - [`machine`]: memory, last-level cache and their times.
//! - [`timing`]: memory in time: when an access has its data.
//! - [`pages`]: which pages a workload has, of which size, and where they are at first.
//! - [`trace`]: accesses recorded from programs, in several formats, read as a stream.
//! - [`generate`]: workloads that are computed, by parameters and a seed.
//! - [`resolve`]: what an experiment names: its design, and files.
//! - [`stream`]: accesses as an engine takes them, in batches, from a trace or a generator.
//! - [`requests`]: accesses cut into what a translation port is asked.
//! - [`profile`]: what must be known of a workload before it runs.
//! - [`portrait`]: what a workload is like: counts, pages, reuse, a picture.
//! - [`answer`]: what an engine answers, with the question in it.
//! - [`counts`]: what an engine counts. The same names mean the same thing in every engine.
//! - [`text`]: numbers for reading.
//!
//! Nothing here knows an engine. Bounds: a stream holds one batch in memory, however long it is.

pub mod answer;
pub mod counts;
pub mod experiment;
pub mod generate;
pub mod imagined;
pub mod machine;
pub mod pages;
pub mod portrait;
pub mod profile;
pub mod requests;
pub mod resolve;
pub mod stream;
pub mod text;
pub mod timing;
pub mod trace;

pub use answer::Answer;
pub use counts::Counts;
pub use experiment::{Engine, Experiment, Job, Work};
pub use generate::{WorkError, workload};
pub use imagined::Imagined;
pub use machine::MachineModel;
pub use pages::{PagePolicy, PageSet};
pub use profile::Profile;
