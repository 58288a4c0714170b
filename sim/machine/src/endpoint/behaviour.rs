//! Ways to behave, and to misbehave.

/// How a device behaves: [`Default`] is as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// Translations that its cache holds.
    pub cache: usize,
    /// Page requests that it may have outstanding, as its driver has told it.
    pub credits: usize,
    /// The most page requests that it puts in a group.
    pub group: usize,
    /// Indices that it names its groups with, from 0: 1 to 512.
    pub indices: u16,
    /// Groups carry the PASID in their responses ("PRG Response PASID Required"), or must not.
    pub response_needs_pasid: bool,
    /// Cycles until it deals with an invalidation request.
    pub delay: u64,
    /// Completions that it sends per invalidation request (one per traffic class), 1 to 8.
    pub completions: u8,
    /// It completes invalidation requests; otherwise it never answers.
    pub completes: bool,
    /// It forgets what it is told to forget; otherwise it completes the request and goes on using the translation.
    pub forgets: bool,
    /// It completes a request when accesses with the old translation are done; otherwise at once.
    pub waits: bool,
    /// It completes with another tag than it was asked with.
    pub wrong_tag: bool,
}

impl Default for Behaviour {
    fn default() -> Behaviour {
        Behaviour {
            cache: 64,
            credits: 32,
            group: 4,
            indices: 512,
            response_needs_pasid: false,
            delay: 8,
            completions: 1,
            completes: true,
            forgets: true,
            waits: true,
            wrong_tag: false,
        }
    }
}
