//! Bases, indices and control of the three queues in memory.

register! {
    /// Base and size of the command queue, whose entries are 16 bytes. To be written only while the queue is off.
    /// (Section "Command-queue base".)
    cqb @ 24, 8 bytes, Always {
        /// Logarithm to base 2 of the number of entries, minus 1: 0 means 2 entries.
        LOG2SZ_1 "LOG2SZ-1" [4:0] WARL;
        /// Physical page number of the queue. A queue larger than a page is aligned to its size.
        PPN "PPN" [53:10] WARL;
    }
}

register! {
    /// Command-queue head: the next command that the IOMMU fetches. (Section "Command-queue head".)
    cqh @ 32, 4 bytes, Always {
        /// Index of an entry. Set to 0 when `cqcsr.cqen` goes from 0 to 1.
        INDEX "index" [31:0] RO;
    }
}

register! {
    /// Command-queue tail: where software writes the next command. (Section "Command-queue tail".)
    cqt @ 36, 4 bytes, Always {
        /// Index of an entry. Only the low `LOG2SZ` bits can be written.
        INDEX "index" [31:0] WARL;
    }
}

register! {
    /// Base and size of the fault queue, whose entries are 32 bytes. To be written only while the queue is off.
    /// (Section "Fault queue base".)
    fqb @ 40, 8 bytes, Always {
        /// Logarithm to base 2 of the number of entries, minus 1: 0 means 2 entries.
        LOG2SZ_1 "LOG2SZ-1" [4:0] WARL;
        /// Physical page number of the queue. A queue larger than a page is aligned to its size.
        PPN "PPN" [53:10] WARL;
    }
}

register! {
    /// Fault-queue head: the next record that software reads. (Section "Fault queue head".)
    fqh @ 48, 4 bytes, Always {
        /// Index of an entry. Only the low `LOG2SZ` bits can be written.
        INDEX "index" [31:0] WARL;
    }
}

register! {
    /// Fault-queue tail: where the IOMMU writes the next record. (Section "Fault queue tail".)
    fqt @ 52, 4 bytes, Always {
        /// Index of an entry. Set to 0 when `fqcsr.fqen` goes from 0 to 1.
        INDEX "index" [31:0] RO;
    }
}

register! {
    /// Base and size of the page-request queue, whose entries are 16 bytes. To be written only while the queue is
    /// off. (Section "Page-request-queue base".)
    pqb @ 56, 8 bytes, Ats {
        /// Logarithm to base 2 of the number of entries, minus 1: 0 means 2 entries.
        LOG2SZ_1 "LOG2SZ-1" [4:0] WARL;
        /// Physical page number of the queue. A queue larger than a page is aligned to its size.
        PPN "PPN" [53:10] WARL;
    }
}

register! {
    /// Page-request-queue head: the next request that software reads. (Section "Page-request-queue head".)
    pqh @ 64, 4 bytes, Ats {
        /// Index of an entry. Only the low `LOG2SZ` bits can be written.
        INDEX "index" [31:0] WARL;
    }
}

register! {
    /// Page-request-queue tail: where the IOMMU writes the next request. (Section "Page-request-queue tail".)
    pqt @ 68, 4 bytes, Ats {
        /// Index of an entry. Set to 0 when `pqcsr.pqen` goes from 0 to 1.
        INDEX "index" [31:0] RO;
    }
}

register! {
    /// Control and status of the command queue. (Section "Command-queue CSR".)
    cqcsr @ 72, 4 bytes, Always {
        /// Enables the queue. Going from 0 to 1 clears `cqh`, `cqmf`, `cmd_to`, `cmd_ill` and `fence_w_ip`.
        CQEN "cqen" [0] RW;
        /// Enables interrupts from the command queue.
        CIE "cie" [1] RW;
        /// A fetch, or a memory access made by a command, faulted. Processing stops until cleared; `cqh` names the
        /// command.
        CQMF "cqmf" [8] RW1C;
        /// An IOFENCE.C found that an earlier command timed out. Processing stops until cleared; `cqh` names the fence.
        CMD_TO "cmd_to" [9] RW1C;
        /// An illegal or unsupported command was fetched. Processing stops until cleared; `cqh` names the command.
        CMD_ILL "cmd_ill" [10] RW1C;
        /// An IOFENCE.C that asked for a wired interrupt completed. Reserved while `fctl.WSI` is 0.
        FENCE_W_IP "fence_w_ip" [11] RW1C;
        /// The queue is active. Once 0, the IOMMU makes no more accesses to the queue's memory.
        CQON "cqon" [16] RO;
        /// 1 while the IOMMU completes a write to this register; software must not write it meanwhile.
        BUSY "busy" [17] RO;
        /// Designated for custom use; 0 here.
        CUSTOM "custom" [31:28] Reserved;
    }
}

register! {
    /// Control and status of the fault queue. (Section "Fault queue CSR".)
    fqcsr @ 76, 4 bytes, Always {
        /// Enables the queue. Going from 0 to 1 clears `fqt`, `fqmf` and `fqof`.
        FQEN "fqen" [0] RW;
        /// Enables interrupts from the fault queue.
        FIE "fie" [1] RW;
        /// Storing a record faulted. That record and all later ones are discarded until cleared.
        FQMF "fqmf" [8] RW1C;
        /// The queue was full when a record was to be stored. That record and all later ones are discarded until
        /// cleared.
        FQOF "fqof" [9] RW1C;
        /// The queue is active. Once 0, the IOMMU makes no more accesses to the queue's memory.
        FQON "fqon" [16] RO;
        /// 1 while the IOMMU completes a write to this register; software must not write it meanwhile.
        BUSY "busy" [17] RO;
        /// Designated for custom use; 0 here.
        CUSTOM "custom" [31:28] Reserved;
    }
}

register! {
    /// Control and status of the page-request queue. (Section "Page-request-queue CSR".)
    pqcsr @ 80, 4 bytes, Ats {
        /// Enables the queue. Going from 0 to 1 clears `pqt`, `pqmf` and `pqof`.
        PQEN "pqen" [0] RW;
        /// Enables interrupts from the page-request queue.
        PIE "pie" [1] RW;
        /// Storing a request faulted. That request and all later ones are discarded until cleared.
        PQMF "pqmf" [8] RW1C;
        /// The queue was full when a request was to be stored. That request and all later ones are discarded until
        /// cleared.
        PQOF "pqof" [9] RW1C;
        /// The queue is active. Once 0, the IOMMU makes no more accesses to the queue's memory.
        PQON "pqon" [16] RO;
        /// 1 while the IOMMU completes a write to this register; software must not write it meanwhile.
        BUSY "busy" [17] RO;
        /// Designated for custom use; 0 here.
        CUSTOM "custom" [31:28] Reserved;
    }
}
