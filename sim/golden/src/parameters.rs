//! What an IOMMU implements, and what it chooses where the specification leaves a choice.

use pasidon_spec::registers::{capabilities as cap, igs};

/// The implementation that a [`Golden`](super::Golden) model models.
///
/// [`Parameters::new`] makes one from a `capabilities` value, and [`Parameters::capabilities_of`] such a value from features; fields may be
/// changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The value of the `capabilities` register: every optional feature, and `PAS`, the width of physical addresses.
    pub capabilities: u64,
    /// Width of a device_id in bits, 1 to 24. Commands for wider ones are legal and without effect.
    pub device_id_width: u8,
    /// Width of a process_id in bits, 1 to 20. Commands for wider ones are legal and without effect.
    pub process_id_width: u8,
    /// log2 of the most entries that `cqb` accepts, 1 to 32.
    pub command_log2_max: u8,
    /// log2 of the most entries that `fqb` accepts, 1 to 32.
    pub fault_log2_max: u8,
    /// log2 of the most entries that `pqb` accepts, 1 to 32.
    pub page_request_log2_max: u8,
    /// Interrupt vectors: 1, 2, 4, 8 or 16.
    pub vectors: u8,
    /// Event counters of the performance monitor, 0 to 31.
    pub hpm_counters: u8,
    /// Whether the cycle counter is there.
    pub hpm_cycles: bool,
    /// Width of the event counters in bits, 32 to 64.
    pub hpm_counter_bits: u8,
    /// Width of the cycle counter in bits, 32 to 63.
    pub hpm_cycle_bits: u8,
    /// Width of an RCID in bits, 0 to 12. A wider one in a device context is a misconfiguration.
    pub rcid_width: u8,
    /// Width of an MCID in bits, 0 to 12. A wider one in a device context is a misconfiguration.
    pub mcid_width: u8,
    /// Whether `fctl.GXL` is writable.
    pub gxl_writable: bool,
    /// ATS invalidation requests that may be in flight, 1 to 32.
    pub invalidations_in_flight: u8,
    /// Clock cycles after which an ATS invalidation request without its answers has timed out, at least 1. `None`: never by itself,
    /// but by [`Golden::invalidation_timeout`](super::Golden::invalidation_timeout).
    pub invalidation_timeout: Option<u64>,
    /// `DC.msiptp.MODE` other than Off while `DC.iohgatp.MODE` is Bare is a misconfiguration, as recommended.
    pub msi_without_second_stage_is_misconfigured: bool,
    /// A root page number (`DC.fsc`, `PC.fsc` if it is a supervisor physical address, `DC.iohgatp`, `DC.msiptp`) beyond the
    /// physical address space is a misconfiguration of its context; if false, the first access to that address is an access fault.
    pub wide_root_is_misconfigured: bool,
    /// IOTINVAL.GVMA is an unsupported command in an IOMMU without any second-stage mode.
    pub gvma_needs_second_stage: bool,
    /// log2 of the bytes that are translated by one rule where no stage translates, 12 to `PAS`. The text recommends large ones for
    /// translation requests, such as 1 GiB (section "PCIe ATS translation request handling"); here it is one size for all requests.
    pub bare_page_shift: u8,
    /// The monitor counts a first-stage walk though it ends with the check that the address is canonical. The text does not say whether
    /// that is a walk.
    pub first_stage_check_is_a_walk: bool,
    /// The monitor counts a second-stage walk though it ends with the check that the address is canonical.
    pub second_stage_check_is_a_walk: bool,
    /// Whether the model remembers table entries and translations (an IOATC) until they are invalidated. If false, it reads all
    /// tables for each request.
    pub caching: bool,
    /// log2 of the number of translations that the IOATC remembers, 4 to 24.
    pub cache_log2: u8,
}

impl Parameters {
    /// An IOMMU with this `capabilities` value and otherwise with everything in the greatest size.
    pub fn new(capabilities: u64) -> Parameters {
        Parameters {
            capabilities,
            device_id_width: 24,
            process_id_width: 20,
            command_log2_max: 24,
            fault_log2_max: 24,
            page_request_log2_max: 24,
            vectors: 16,
            hpm_counters: if cap::HPM.is_set(capabilities) { 31 } else { 0 },
            hpm_cycles: cap::HPM.is_set(capabilities),
            hpm_counter_bits: 64,
            hpm_cycle_bits: 63,
            rcid_width: 12,
            mcid_width: 12,
            gxl_writable: cap::SV32X4.is_set(capabilities),
            invalidations_in_flight: 32,
            invalidation_timeout: None,
            msi_without_second_stage_is_misconfigured: true,
            wide_root_is_misconfigured: true,
            gvma_needs_second_stage: false,
            bare_page_shift: 30,
            first_stage_check_is_a_walk: false,
            second_stage_check_is_a_walk: true,
            caching: false,
            cache_log2: 12,
        }
    }

    /// An IOMMU with every feature of the specification, 56-bit physical addresses, and interrupts by wire or message.
    pub fn full() -> Parameters {
        Parameters::new(Parameters::full_capabilities())
    }

    /// The `capabilities` value of [`Parameters::full`].
    pub fn full_capabilities() -> u64 {
        let all = [
            cap::SV32,
            cap::SV39,
            cap::SV48,
            cap::SV57,
            cap::SVRSW60T59B,
            cap::SVPBMT,
            cap::SV32X4,
            cap::SV39X4,
            cap::SV48X4,
            cap::SV57X4,
            cap::AMO_MRIF,
            cap::MSI_FLAT,
            cap::MSI_MRIF,
            cap::AMO_HWAD,
            cap::ATS,
            cap::T2GPA,
            cap::END,
            cap::HPM,
            cap::DBG,
            cap::PD8,
            cap::PD17,
            cap::PD20,
            cap::QOSID,
            cap::NL,
            cap::S,
        ];
        Parameters::capabilities_of(all, igs::BOTH, 56)
    }

    /// The `capabilities` value of an IOMMU with these features (fields of one bit), interrupts of this kind (one of
    /// [`igs`](pasidon_spec::registers::igs)) and physical addresses of `pas` bits.
    pub fn capabilities_of(
        features: impl IntoIterator<Item = pasidon_spec::field::Field>,
        interrupts: u64,
        pas: u32,
    ) -> u64 {
        let version = cap::VERSION.of(cap::VERSION.reset);
        features
            .into_iter()
            .fold(version | cap::IGS.of(interrupts) | cap::PAS.of(pas.into()), |word, field| {
                word | field.mask()
            })
    }

    /// The same with an IOATC.
    #[must_use]
    pub fn with_caching(self) -> Parameters {
        Parameters { caching: true, ..self }
    }

    /// Width of a physical address in bits.
    pub fn pas(&self) -> u32 {
        cap::PAS.get(self.capabilities) as u32
    }

    /// Width of the widest guest physical address in bits: MGPAW. (Section "MSI address mask (msi_addr_mask) and pattern
    /// (msi_addr_pattern)".)
    pub fn guest_address_width(&self) -> u32 {
        let has = |field: pasidon_spec::field::Field| field.is_set(self.capabilities);
        if has(cap::SV57X4) {
            59
        } else if has(cap::SV48X4) {
            50
        } else if has(cap::SV39X4) {
            41
        } else if has(cap::SV32X4) {
            34
        } else {
            self.pas()
        }
    }
}
