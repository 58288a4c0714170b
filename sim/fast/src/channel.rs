//! Who does what, as the engine takes it: a channel has a device, a process, a port, and a stream of accesses.

use pasidon_experiment::Job;
pub use pasidon_experiment::requests::{Feed, Request};
use pasidon_experiment::requests::{part, share};
use pasidon_experiment::stream::AccessStream;
pub use pasidon_experiment::stream::Recorded;
use std::ops::Range;

/// A DMA channel.
pub struct Channel {
    /// Number of the device, from 0.
    pub device: u32,
    /// Number of the process; channels with the same number share an address space.
    pub process: u32,
    /// Translation port; taken modulo the ports of the design.
    pub port: u32,
    /// Requests under way, at least 1.
    pub depth: u32,
    /// Cycles of computing before each access, beside what the access says itself.
    pub gap: u32,
    /// Requests, the stream, or its part, repeated as needed; by default all of it once.
    pub requests: Option<u64>,
    /// The part of the stream that it does, in requests; by default all.
    pub part: Option<Range<u64>>,
    /// What it does.
    pub stream: Box<dyn AccessStream>,
}

impl Channel {
    /// The channels of a job whose work has this many requests, and which `open` opens: as many as the job has, each with a part of it.
    ///
    /// # Errors
    /// What `open` says.
    pub fn of<E>(
        job: &Job,
        length: u64,
        mut open: impl FnMut() -> Result<Box<dyn AccessStream>, E>,
    ) -> Result<Vec<Channel>, E> {
        let Job { process, device, port, depth, gap, accesses, .. } = *job;
        let (port, depth) = (port.unwrap_or(device), depth.max(1));
        let channel =
            |part, requests, stream| Channel { device, process, port, depth, gap, requests, part, stream };
        let parts = u64::from(job.channels.max(1));
        if parts == 1 {
            return Ok(vec![channel(None, accesses, open()?)]);
        }
        let able: Vec<Range<u64>> =
            (0..parts).map(|i| part(length, i, parts)).filter(|part| !part.is_empty()).collect();
        let count = able.len() as u64;
        (0..)
            .zip(able)
            .map(|(i, part)| Ok(channel(Some(part), accesses.map(|wanted| share(wanted, i, count)), open()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pasidon_experiment::trace::{TraceAccess, TraceError, TraceOp};

    #[test]
    fn the_parts_of_a_job_are_all_of_it() {
        let accesses: Vec<TraceAccess> = (0..7)
            .map(|i| TraceAccess { pasid: 0, op: TraceOp::Modify, address: i, size: 1, gap: 0 })
            .collect();
        let text = "work = { trace = \"none\" }\ndevice = 1\nchannels = 3\n";
        let job: Job = toml::from_str(text).unwrap();
        let open = || {
            Ok::<_, TraceError>(Box::new(Recorded::new("test", accesses.clone())) as Box<dyn AccessStream>)
        };
        let all = |job: &Job| -> Vec<Vec<u64>> {
            let feed = |c: Channel| Feed::new(c.stream, c.requests, c.part).unwrap();
            let list = |mut feed: Feed| {
                std::iter::from_fn(|| feed.next_request().unwrap()).map(|r| r.address).collect()
            };
            Channel::of(job, 14, open).unwrap().into_iter().map(feed).map(list).collect()
        };
        assert_eq!(all(&job), [vec![0, 0, 1, 1], vec![2, 2, 3, 3, 4], vec![4, 5, 5, 6, 6]]);
        let more = all(&Job { accesses: Some(16), ..job });
        assert_eq!(more, [vec![0, 0, 1, 1, 0, 0], vec![2, 2, 3, 3, 4], vec![4, 5, 5, 6, 6]]);
    }
}
