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

/// A field of [`Parameters`] that is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterError {
    /// Name of the field.
    pub field: &'static str,
    /// Its value.
    pub value: u64,
    /// What it may be.
    pub legal: &'static str,
}

impl std::fmt::Display for ParameterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {}: it must be {}", self.field, self.value, self.legal)
    }
}

impl std::error::Error for ParameterError {}

impl Parameters {
    /// Whether every field is in its range.
    ///
    /// # Errors
    /// [`ParameterError`], the first field that is not.
    pub fn check(&self) -> Result<(), ParameterError> {
        let within = |range: std::ops::RangeInclusive<u8>, value: u8| range.contains(&value);
        let timeout = self.invalidation_timeout.unwrap_or(1);
        let fields: [(&'static str, u64, &'static str, bool); 15] = [
            ("capabilities.PAS", self.pas().into(), "32 to 56", (32..=56).contains(&self.pas())),
            ("device_id_width", self.device_id_width.into(), "1 to 24", within(1..=24, self.device_id_width)),
            (
                "process_id_width",
                self.process_id_width.into(),
                "1 to 20",
                within(1..=20, self.process_id_width),
            ),
            (
                "command_log2_max",
                self.command_log2_max.into(),
                "1 to 32",
                within(1..=32, self.command_log2_max),
            ),
            ("fault_log2_max", self.fault_log2_max.into(), "1 to 32", within(1..=32, self.fault_log2_max)),
            (
                "page_request_log2_max",
                self.page_request_log2_max.into(),
                "1 to 32",
                within(1..=32, self.page_request_log2_max),
            ),
            (
                "vectors",
                self.vectors.into(),
                "1, 2, 4, 8 or 16",
                self.vectors.is_power_of_two() && self.vectors <= 16,
            ),
            ("hpm_counters", self.hpm_counters.into(), "0 to 31", self.hpm_counters <= 31),
            (
                "hpm_counter_bits",
                self.hpm_counter_bits.into(),
                "32 to 64",
                within(32..=64, self.hpm_counter_bits),
            ),
            ("hpm_cycle_bits", self.hpm_cycle_bits.into(), "32 to 63", within(32..=63, self.hpm_cycle_bits)),
            ("rcid_width", self.rcid_width.into(), "0 to 12", self.rcid_width <= 12),
            ("mcid_width", self.mcid_width.into(), "0 to 12", self.mcid_width <= 12),
            (
                "invalidations_in_flight",
                self.invalidations_in_flight.into(),
                "1 to 32",
                within(1..=32, self.invalidations_in_flight),
            ),
            ("invalidation_timeout", timeout, "at least 1", timeout >= 1),
            ("cache_log2", self.cache_log2.into(), "4 to 24", within(4..=24, self.cache_log2)),
        ];
        if let Some(&(field, value, legal, _)) = fields.iter().find(|(.., fits)| !fits) {
            return Err(ParameterError { field, value, legal });
        }
        let shift = u32::from(self.bare_page_shift);
        if !(12..=self.pas()).contains(&shift) {
            let legal = "12 to the width of physical addresses";
            return Err(ParameterError { field: "bare_page_shift", value: shift.into(), legal });
        }
        Ok(())
    }

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
