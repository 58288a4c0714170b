//! How messages to a device are addressed.

use pasidon_spec::command::Command;

/// Segment and requester id of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Requester {
    segment: Option<u8>,
    rid: u16,
}

impl Requester {
    /// Of a device id: bits 15:0 are the requester id, the bits above are the segment if they are not 0, or
    /// if `segment` names none.
    pub(crate) const fn of(device_id: u32, segment: Option<u8>) -> Self {
        let above = (device_id >> 16) as u8;
        let segment = match segment {
            None if above != 0 => Some(above),
            other => other,
        };
        Self { segment, rid: device_id as u16 }
    }

    /// An invalidation request.
    pub(crate) const fn invalidate(self, pasid: Option<u32>, payload: u64) -> Command {
        Command::AtsInval { pid: pasid, dseg: self.segment, rid: self.rid, payload }
    }

    /// The answer to a group of page requests.
    pub(crate) const fn respond(self, pasid: Option<u32>, payload: u64) -> Command {
        Command::AtsPrgr { pid: pasid, dseg: self.segment, rid: self.rid, payload }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_is_named_where_it_has_to_be() {
        let parts = |requester: Requester| (requester.segment, requester.rid);
        assert_eq!(parts(Requester::of(0x1234, None)), (None, 0x1234));
        assert_eq!(parts(Requester::of(0x51234, None)), (Some(5), 0x1234));
        assert_eq!(parts(Requester::of(0x1234, Some(0))), (Some(0), 0x1234));
        assert_eq!(parts(Requester::of(0x51234, Some(7))), (Some(7), 0x1234));
    }
}
