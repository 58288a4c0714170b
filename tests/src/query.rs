//! A request of a test, and its result.

use pasidon_spec::request::{AddressType, Request, Response};

/// What a request on a port is known by.
pub(crate) type Tag = (usize, Query);

/// A translation request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Who asks.
    pub device_id: u32,
    /// PASID.
    pub process_id: Option<u32>,
    /// Supervisor privilege.
    pub privileged: bool,
    /// Read for execute.
    pub exec: bool,
    /// Write.
    pub write: bool,
    /// 0 untranslated, 1 ATS translation request, 2 translated.
    pub at: u8,
    /// Address.
    pub iova: u64,
}

impl Query {
    /// A user-mode read.
    pub fn read(device_id: u32, process_id: Option<u32>, iova: u64) -> Query {
        Query { device_id, process_id, iova, ..Query::default() }
    }

    /// The same as a write.
    #[must_use]
    pub fn write(self) -> Query {
        Query { write: true, ..self }
    }

    /// The same as a read for execute.
    #[must_use]
    pub fn exec(self) -> Query {
        Query { exec: true, ..self }
    }

    /// The same with supervisor privilege.
    #[must_use]
    pub fn privileged(self) -> Query {
        Query { privileged: true, ..self }
    }

    /// As the port carries it.
    pub(crate) fn request(self) -> Request {
        let Query { device_id, process_id, privileged, exec, write, at, iova } = self;
        let at = match at {
            0 => AddressType::Untranslated,
            1 => AddressType::TranslationRequest,
            _ => AddressType::Translated,
        };
        Request { device_id, process_id, privileged, exec, write, at, iova, ..Request::default() }
    }
}

/// What a request came to. Cycles are those in which the event could first be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryAnswer {
    /// The request.
    pub query: Query,
    /// Its port.
    pub port: usize,
    /// The request was first valid.
    pub offered: u64,
    /// The response was first valid.
    pub shown: u64,
    /// The response was taken.
    pub taken: u64,
    /// 0 success, 1 unsupported request.
    pub status: u64,
    /// Cause of the fault, 0 if none.
    pub cause: u64,
    /// Translated address.
    pub spa: u64,
    /// Reading, writing, fetching is allowed.
    pub rwx: (bool, bool, bool),
    /// log2 of the page's bytes.
    pub size: u64,
}

impl QueryAnswer {
    pub(crate) fn new(port: usize, answer: &pasidon_cosim::Answer<Tag>) -> QueryAnswer {
        let pasidon_cosim::Answer { tag: (_, query), offered, shown, taken, response } = *answer;
        let refused = QueryAnswer {
            query,
            port,
            offered,
            shown,
            taken,
            status: 1,
            cause: 0,
            spa: 0,
            rwx: (false, false, false),
            size: 0,
        };
        match response {
            Response::Fault(fault) => QueryAnswer { cause: fault.cause.code().into(), ..refused },
            Response::Success(translation) => QueryAnswer {
                status: 0,
                cause: translation.ats.and_then(|ats| ats.withheld).map_or(0, |cause| cause.code().into()),
                spa: translation.spa,
                rwx: (translation.read, translation.write, translation.exec),
                size: translation.page_shift.into(),
                ..refused
            },
        }
    }

    /// Clock edges from the first cycle in which the request was valid to the first in which the response was.
    pub fn latency(&self) -> u64 {
        self.shown - self.offered
    }

    /// Whether it is a translation.
    pub fn is_success(&self) -> bool {
        self.status == 0 && self.cause == 0
    }
}
