/*
 * Pasidon, the IOMMU driver, for C. Generated from capi/src by `UPDATE=1 cargo test -p pasidon-capi`: don't edit.
 *
 * Errors. Every function except iommu_strerror returns an int or a pointer. An int is a negated enum iommu_error if the function
 * failed; otherwise it is 0 or the requested number, which is not negative. For a pointer, IOMMU_IS_ERR tells whether the function
 * failed, and IOMMU_PTR_ERR is the negated error then; the pointer is never NULL.
 *
 * Handles. Pointers to struct iommu, iommu_mm, iommu_pasid_space and iommu_sva are handles: numbers that are looked up in a table,
 * never dereferenced and never used again. Every function refuses NULL, an error, a handle of another kind and anything else that
 * never was such a handle with IOMMU_ERROR_INVALID, and a handle that was released with IOMMU_ERROR_STALE. Only iommu_destroy,
 * iommu_mm_put and iommu_pasid_space_put ignore NULL and return 0. A struct iommu_device belongs to the caller; the handle in it
 * is checked.
 *
 * Contexts. iommu_invalidate_range, iommu_invalidate_shared_tables, iommu_receive_page_requests, iommu_service_faults,
 * iommu_service_faults_each and iommu_statistics may be called in interrupt handlers, where `mask` keeps them from interrupting the
 * driver; all other functions by ordinary threads only. What the callbacks of a platform, an address space and a device driver
 * must and may do is said at struct iommu_platform, iommu_mm_ops and iommu_sva_ops.
 *
 * Page tables of a process must not have the G bit set in entries for pages that devices may use (see iommu_mm_create).
 *
 * Link with libpasidon_capi.a and, on an operating system, -lpthread, -ldl and -lm. Built for bare metal
 * (`cargo build -p pasidon-capi --no-default-features --profile bare`), it needs no operating system: the program provides the
 * functions iommu_host_..., and memcpy, memmove, memset and memcmp.
 */

#ifndef PASIDON_H
#define PASIDON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/** Whether a pointer that was returned is an error. */
#define IOMMU_IS_ERR(pointer) ((uintptr_t)(pointer) >= (uintptr_t)-4095)
/** The error that was returned as a pointer: minus one of enum iommu_error. */
#define IOMMU_PTR_ERR(pointer) ((int)(intptr_t)(pointer))

/* What a program without an operating system must provide. None of these may call the library. */
#ifdef __cplusplus
extern "C" {
#endif
/** Memory for the library's own records, of `size` bytes, aligned to `align`, a power of two; NULL if there is none. */
void *iommu_host_alloc(size_t size, size_t align);
/** Returns such memory, with the same numbers. */
void iommu_host_free(void *memory, size_t size, size_t align);
/** Takes the library's one lock: a few steps with nothing waited for, in ordinary threads only. */
void iommu_host_lock(void);
/** Releases it. */
void iommu_host_unlock(void);
/** The library has found an inconsistent state of its own. Must not return. */
void iommu_host_panic(const char *message, size_t length);
#ifdef __cplusplus
}
#endif


/**
 * Error codes, with the numbers of Linux where there is one that fits. Functions return them negated.
 */
enum iommu_error {
  /**
   * The address space has exited.
   */
  IOMMU_ERROR_EXITED = 3,
  /**
   * The IOMMU did not confirm a command: a memory fault, an illegal command, a queue that can't be restarted.
   */
  IOMMU_ERROR_HARDWARE = 5,
  /**
   * There is nothing to return yet.
   */
  IOMMU_ERROR_AGAIN = 11,
  /**
   * Out of memory, or of memory that the IOMMU can reach.
   */
  IOMMU_ERROR_MEMORY = 12,
  /**
   * Bonds still exist.
   */
  IOMMU_ERROR_BUSY = 16,
  /**
   * Already enabled, or already set to something else.
   */
  IOMMU_ERROR_EXISTS = 17,
  /**
   * The PASID of the address space is from another PASID space.
   */
  IOMMU_ERROR_FOREIGN_PASID = 18,
  /**
   * SVA is not enabled for the device, or another feature that the call needs is not.
   */
  IOMMU_ERROR_DEVICE = 19,
  /**
   * An argument is NULL or outside its range, a handle is none or one of another kind, or the IOMMU can't use the page
   * table.
   */
  IOMMU_ERROR_INVALID = 22,
  /**
   * There is no free PASID that the device can carry.
   */
  IOMMU_ERROR_NO_PASID = 28,
  /**
   * The PASID of the address space is larger than the device can carry.
   */
  IOMMU_ERROR_WIDE = 75,
  /**
   * The IOMMU does not support this.
   */
  IOMMU_ERROR_UNSUPPORTED = 95,
  /**
   * The IOMMU was reset: call iommu_resume.
   */
  IOMMU_ERROR_RESET = 104,
  /**
   * The device is being removed or was cut off.
   */
  IOMMU_ERROR_LEAVING = 108,
  /**
   * The hardware did not respond in time.
   */
  IOMMU_ERROR_TIMEOUT = 110,
  /**
   * The handle was released before.
   */
  IOMMU_ERROR_STALE = 116,
  /**
   * There is no free tag (PSCID) for the address space.
   */
  IOMMU_ERROR_NO_TAG = 119,
};

/**
 * The format of a page table.
 */
enum iommu_page_table {
  /**
   * Three levels, 39-bit virtual addresses.
   */
  IOMMU_PAGE_TABLE_SV39 = 39,
  /**
   * Four levels, 48-bit virtual addresses.
   */
  IOMMU_PAGE_TABLE_SV48 = 48,
  /**
   * Five levels, 57-bit virtual addresses.
   */
  IOMMU_PAGE_TABLE_SV57 = 57,
};

/**
 * What became of a page request; what `iommu_mm_ops.handle_fault` returns. Any other value means failure.
 */
enum iommu_resolution {
  /**
   * The page is present with the permissions asked for.
   */
  IOMMU_RESOLUTION_POPULATED = 0,
  /**
   * There is no such mapping, or it forbids the access.
   */
  IOMMU_RESOLUTION_INVALID = 1,
  /**
   * The page could not be provided.
   */
  IOMMU_RESOLUTION_FAILURE = 2,
  /**
   * Not now: the device goes on waiting, and the next iommu_service_page_requests asks again.
   */
  IOMMU_RESOLUTION_NOT_NOW = 3,
};

/**
 * What a device is told about a recoverable fault; what `iommu_sva_ops.fault` returns. Any other value means as
 * resolved.
 */
enum iommu_decision {
  /**
   * What the address space's answer amounts to.
   */
  IOMMU_DECISION_AS_RESOLVED = 0,
  /**
   * The device may retry.
   */
  IOMMU_DECISION_RETRY = 1,
  /**
   * The device must not retry.
   */
  IOMMU_DECISION_INVALID = 2,
  /**
   * The device should stop using the page-request interface.
   */
  IOMMU_DECISION_FAILURE = 3,
};

/**
 * How important a message is.
 */
enum iommu_log_level {
  /**
   * Something failed.
   */
  IOMMU_LOG_LEVEL_ERROR = 1,
  /**
   * Something was wrong and has been dealt with.
   */
  IOMMU_LOG_LEVEL_WARNING = 2,
  /**
   * What an operator may want to know.
   */
  IOMMU_LOG_LEVEL_INFO = 3,
  /**
   * What a developer may want to know.
   */
  IOMMU_LOG_LEVEL_DEBUG = 4,
};

/**
 * An IOMMU that is up and translating. A handle.
 */
struct iommu;

#if defined(IOMMU_FAKE)
/**
 * A machine to try a driver on. A handle.
 */
struct iommu_fake;
#endif

/**
 * An address space that devices can be bound to. A handle.
 */
struct iommu_mm;

/**
 * The PASIDs of a system. A handle.
 */
struct iommu_pasid_space;

/**
 * A device bound to an address space. A handle. Binding the same two again gives the same one.
 */
struct iommu_sva;

/**
 * A device: the IOMMU that it is behind, and its id there. C makes these as it needs them.
 */
struct iommu_device {
  /**
   * The IOMMU.
   */
  struct iommu *iommu;
  /**
   * Segment (bits 23:16) and requester id (bits 15:0).
   */
  uint32_t id;
};

/**
 * What state a device is in.
 */
struct iommu_device_state {
  /**
   * Address spaces that it is bound to.
   */
  size_t bonds;
  /**
   * It may use ATS.
   */
  bool ats;
  /**
   * It may send page requests.
   */
  bool page_requests;
  /**
   * It was cut off, by iommu_device_cut_off or because it did not complete an invalidation.
   */
  bool cut_off;
};

/**
 * Access to one IOMMU's registers, to memory that it can reach, to time, and to a way of waiting. `context` is passed
 * to each function.
 *
 * Calls: all functions may be called from several threads at once, also in interrupt handlers that call the driver, and
 * most with the driver's spin locks held and interrupts masked: none calls the driver, sleeps, or waits for somebody who
 * does. The one exception is `alloc`, which is called by ordinary threads with no spin lock held: it may block, and call
 * iommu_invalidate_range to find memory. `relax`, `mask`, `unmask`, `flow` and `is_fixed_memory` may be NULL; the others must
 * be there.
 *
 * Memory model: the driver assumes no more than the RISC-V memory model (RVWMO) and its I/O ordering give. Register accesses of one
 * thread reach the IOMMU in program order. Accesses to memory are ordered neither among themselves nor with those to
 * registers, except by `fence`, which the driver calls before every write of a register that tells the IOMMU of something in
 * memory, after it has read how far the IOMMU is, and between the parts of a table entry. Memory is coherent, or `fence`,
 * `load64` and `store64` make it so. The IOMMU reads and writes it at any time. Values are little-endian in memory.
 *
 * Who changes a page table on one thread and has another call the driver orders the two itself.
 *
 * Time: `now` counts up at a constant rate from any origin; all timeouts of iommu_config are in its ticks. It goes on while
 * interrupts are masked.
 */
struct iommu_platform {
  /**
   * For the functions' own use.
   */
  void *context;
  /**
   * Reads the 32-bit register, or half of a 64-bit one, at a byte offset of the register page, a multiple of 4: one access.
   */
  uint32_t (*read32)(void *context, uint32_t offset);
  /**
   * Reads the 64-bit register at a byte offset, a multiple of 8: one access, or where the bus is narrower two, low half first.
   */
  uint64_t (*read64)(void *context, uint32_t offset);
  /**
   * Writes the 32-bit register at a byte offset: one access.
   */
  void (*write32)(void *context, uint32_t offset, uint32_t value);
  /**
   * Writes the 64-bit register at a byte offset: one access, or where the bus is narrower two, low half first.
   */
  void (*write64)(void *context, uint32_t offset, uint64_t value);
  /**
   * Allocates memory that the IOMMU can reach, aligned to `align`, a power of two, and nobody else's until it is freed. What it
   * holds does not matter. Returns its physical address, or UINT64_MAX if there is none.
   */
  uint64_t (*alloc)(void *context, size_t bytes, size_t align);
  /**
   * Returns memory that `alloc` gave, with the same size. The IOMMU does not use it any more.
   */
  void (*free)(void *context, uint64_t paddr, size_t bytes);
  /**
   * Reads the doubleword at a physical address, a multiple of 8, whole: a single access, which the compiler may neither merge
   * nor drop.
   */
  uint64_t (*load64)(void *context, uint64_t paddr);
  /**
   * Writes the doubleword at a physical address, a multiple of 8, whole: the IOMMU sees the old value or the new one.
   */
  void (*store64)(void *context, uint64_t paddr, uint64_t value);
  /**
   * Orders every earlier memory and register access before every later one, as the IOMMU sees them (on RISC-V
   * `fence iorw, iorw`).
   */
  void (*fence)(void *context);
  /**
   * The time in ticks. It must advance while the driver polls, or a wait for dead hardware has no end.
   */
  uint64_t (*now)(void *context);
  /**
   * Called once per turn of every polling loop: a pause instruction, or a yield where interrupts are not masked and the caller of
   * the driver may be preempted. NULL: a pause instruction.
   */
  void (*relax)(void *context);
  /**
   * Keeps interrupt handlers, and tasks that preempt, off this CPU if they call the driver, and returns what `unmask`
   * needs. Called before every spin lock of the driver; calls nest. NULL: nobody who interrupts calls the driver.
   */
  size_t (*mask)(void *context);
  /**
   * Undoes the `mask` that returned `state`. There if `mask` is.
   */
  void (*unmask)(void *context, size_t state);
  /**
   * A number, not 0, that tells the thread or interrupt handler that calls from all others that exist at the time.
   * NULL, or 0: there is no such number here; then callbacks must not unbind what they are called for.
   */
  size_t (*flow)(void *context);
  /**
   * Whether the IOMMU has memory of its own for tables or queues at a physical address that `load64` and `store64` reach
   * and nobody else uses. It is asked for if the IOMMU does not accept what `alloc` gave. NULL: it has none.
   */
  bool (*is_fixed_memory)(void *context, uint64_t paddr, size_t bytes);
};

/**
 * An interrupt that is a message: a store of four bytes.
 */
struct iommu_message {
  /**
   * The physical address, a multiple of 4; 0: there is no message, the interrupt is a wire.
   */
  uint64_t address;
  /**
   * What is stored there.
   */
  uint32_t data;
};

/**
 * How an IOMMU is set up. iommu_config_init fills in what is usual.
 */
struct iommu_config {
  /**
   * Width of the device ids in use, in bits: 1 to 24.
   */
  uint32_t device_id_width;
  /**
   * Logarithm to base 2 of the command queue's entries: 3 to 15.
   */
  uint32_t command_queue_log2;
  /**
   * Logarithm to base 2 of the fault queue's entries: 3 to 15.
   */
  uint32_t fault_queue_log2;
  /**
   * Logarithm to base 2 of the page-request queue's entries: 3 to 15.
   */
  uint32_t page_request_queue_log2;
  /**
   * How many ticks the IOMMU may take for one step.
   */
  uint64_t timeout;
  /**
   * How many ticks a command may take that waits for devices: longer than the IOMMU itself waits for them.
   */
  uint64_t device_timeout;
  /**
   * A range of more pages than this is invalidated by invalidating its whole address space.
   */
  uint64_t range_limit;
  /**
   * Interrupt vector (wire) of the fault queue, 0 to 15; -1 to poll.
   */
  int8_t fault_vector;
  /**
   * Interrupt vector (wire) of the page-request queue, 0 to 15; -1 to poll.
   */
  int8_t page_request_vector;
  /**
   * The PASIDs to draw from: IOMMUs where the same address space may be bound share one space. NULL: one of its own.
   */
  struct iommu_pasid_space *pasids;
  /**
   * The message of the fault queue's interrupt, if interrupts are messages.
   */
  struct iommu_message fault_message;
  /**
   * The message of the page-request queue's interrupt, if interrupts are messages.
   */
  struct iommu_message page_request_message;
  /**
   * The IOMMU sets accessed and dirty bits in page tables itself, if it can.
   */
  bool update_ad;
};

/**
 * What a device wanted to do when it needed a page.
 */
struct iommu_access {
  /**
   * The virtual address, in bytes; the low 12 bits of a page request's are 0.
   */
  uint64_t address;
  /**
   * It wants to read.
   */
  bool read;
  /**
   * It wants to write.
   */
  bool write;
  /**
   * It wants to execute.
   */
  bool execute;
  /**
   * It asks for supervisor privilege.
   */
  bool privileged;
};

/**
 * What an address space does. Any function may be NULL. They may be called from any thread.
 */
struct iommu_mm_ops {
  /**
   * Makes a page present that a device asks for. Called by iommu_service_page_requests without driver locks. Returns
   * one of enum iommu_resolution. It may be called, or be running, when the address space exits, and then makes
   * nothing present any more. NULL: no page can be asked for.
   */
  int (*handle_fault)(void *context, const struct iommu_access *access);
  /**
   * Nothing refers to the address space any more, and its PASID can be another's.
   */
  void (*release)(void *context);
};

/**
 * What iommu_service_page_requests did.
 */
struct iommu_page_request_report {
  /**
   * Groups that were resolved and answered.
   */
  size_t groups;
  /**
   * Groups that wait because an address space said "not now". The next call asks again.
   */
  size_t deferred;
  /**
   * The queue had been full, and requests were lost; their devices were told to retry.
   */
  bool overflow;
  /**
   * The IOMMU could not write a request, and requests were lost; their devices were told that the interface failed.
   */
  bool memory_fault;
  /**
   * There is more to do. Call again.
   */
  bool more;
  /**
   * The IOMMU was reset behind the driver's back: iommu_resume brings it back.
   */
  bool reset;
};

/**
 * What iommu_service_faults found.
 */
struct iommu_fault_report {
  /**
   * Fault records that were shown, including those that went to callbacks.
   */
  size_t records;
  /**
   * Records that were dropped because they were about address spaces that have exited.
   */
  size_t suppressed;
  /**
   * The queue had been full, and records were lost.
   */
  bool overflow;
  /**
   * The IOMMU could not write a record, and records were lost.
   */
  bool memory_fault;
  /**
   * There are more records. Call again.
   */
  bool more;
  /**
   * The IOMMU was reset behind the driver's back: iommu_resume brings it back.
   */
  bool reset;
  /**
   * Records that were dropped because their device had too many.
   */
  size_t excess;
};

/**
 * A record of the fault queue: an access that was refused. (Section "Fault/Event-Queue" of the specification.)
 */
struct iommu_fault_record {
  /**
   * The device: 24 bits, segment (bits 23:16) and requester id (bits 15:0).
   */
  uint32_t device_id;
  /**
   * The PASID: 20 bits; 0 if the access had none.
   */
  uint32_t pasid;
  /**
   * Whether the access had a PASID.
   */
  bool has_pasid;
  /**
   * The access asked for supervisor privilege.
   */
  bool privileged;
  /**
   * Why: 12 bits, the cause code of the specification (section "Fault causes"), as 13: a page may not be read.
   */
  uint16_t cause;
  /**
   * What kind of access: 6 bits, the transaction type of the specification (`TTYP`): 1 to 3 an untranslated fetch, read,
   * write; 5 to 7 the same translated; 8 a translation request; 9 a message; 0 none of a device.
   */
  uint8_t kind;
  /**
   * The virtual address of the access, in bytes; for a message its code (`iotval`).
   */
  uint64_t address;
  /**
   * More about some causes (`iotval2`): of a guest-page fault the guest physical address, in bytes, with bits 0 and 1 as
   * the specification has them; otherwise 0.
   */
  uint64_t detail;
};

/**
 * A number that the driver counts.
 */
struct iommu_statistic {
  /**
   * Its name, which is not terminated.
   */
  const char *name;
  /**
   * How long the name is.
   */
  size_t name_length;
  /**
   * The count since the IOMMU was brought up.
   */
  uint64_t value;
};

/**
 * A fault of a device in a bound address space.
 */
struct iommu_fault {
  /**
   * What the device wanted to do.
   */
  struct iommu_access access;
  /**
   * A page request that could not be resolved: the device waits for the decision. If false, the access has been
   * refused already.
   */
  bool recoverable;
  /**
   * Why the access was refused: the cause code of the specification (section "Fault causes"), 12 bits. 0 if the fault is
   * recoverable.
   */
  uint16_t cause;
  /**
   * The device: segment (bits 23:16) and requester id (bits 15:0).
   */
  uint32_t device_id;
  /**
   * The PASID, 20 bits, not 0.
   */
  uint32_t pasid;
};

/**
 * The callbacks of a device driver. Any function may be NULL. They run without driver locks, from any thread that calls
 * iommu_mm_exit, iommu_service_page_requests or iommu_service_faults; in an interrupt handler if the last is called in one,
 * and then they call only what may be called there.
 *
 * An unbind waits for callbacks of its bond that are running, but not one from within a callback, which would wait for
 * itself: to know the one from the other takes `iommu_platform.flow`. Without it a callback must not unbind what it is called
 * for, nor what is waited for by one that it waits for.
 */
struct iommu_sva_ops {
  /**
   * The address space is going away: called once, while the page tables are still there. The handle is still to be
   * unbound later.
   */
  void (*mm_exit)(struct iommu_sva *handle, void *drvdata);
  /**
   * An access was refused, or a page request could not be resolved. Returns one of enum iommu_decision.
   */
  int (*fault)(struct iommu_sva *handle, void *drvdata, const struct iommu_fault *fault);
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Gives a device a context, so that it can be bound. Its PASIDs have `pasid_width` bits, 1 to 20. Its accesses without
 * a PASID fault, or, with `pass_untagged`, reach physical memory untranslated.
 *
 * # Safety
 * `device` is NULL or points to a device.
 */
int iommu_device_enable_sva(const struct iommu_device *device,
                            uint32_t pasid_width,
                            bool pass_untagged);

/**
 * Takes a device's context away. It has been told to stop, and has no bonds.
 *
 * # Safety
 * `device` is NULL or points to a device.
 */
int iommu_device_disable_sva(const struct iommu_device *device);

/**
 * Lets a device use ATS; the device's own enable bit is set afterwards. The device is idle and has no bonds. `segment`
 * is what messages to it name, 0 to 255, or -1: bits 23:16 of the device id if they are not 0.
 *
 * # Safety
 * `device` is NULL or points to a device.
 */
int iommu_device_enable_ats(const struct iommu_device *device,
                            int16_t segment);

/**
 * Takes ATS and page requests from an idle device whose own enable bits have been cleared. Bonds stay.
 *
 * # Safety
 * `device` is NULL or points to a device.
 */
int iommu_device_disable_ats(const struct iommu_device *device);

/**
 * Lets a device have so many page requests outstanding; the device's own enable bit is set afterwards.
 * `response_needs_pasid` is the device's "PRG Response PASID Required" bit.
 *
 * # Safety
 * `device` is NULL or points to a device.
 */
int iommu_device_enable_pri(const struct iommu_device *device, size_t outstanding, bool response_needs_pasid);

/**
 * Takes page requests from a device whose own enable bit has been cleared. What is pending is answered Invalid Request.
 *
 * # Safety
 * `device` is NULL or points to a device.
 */
int iommu_device_disable_pri(const struct iommu_device *device);

/**
 * Refuses everything from a device from now on: it is gone, or about to be reset.
 *
 * # Safety
 * `device` is NULL or points to a device.
 */
int iommu_device_cut_off(const struct iommu_device *device);

/**
 * Lets a device in again that was cut off and has been reset since.
 *
 * # Safety
 * `device` is NULL or points to a device.
 */
int iommu_device_reinstate(const struct iommu_device *device);

/**
 * The state of a device for which SVA is enabled.
 *
 * # Safety
 * `device` is NULL or points to a device; `state` is NULL or points to memory for one.
 */
int iommu_device_get_state(const struct iommu_device *device, struct iommu_device_state *state);

/**
 * The meaning of an error code, with or without its minus sign. Never NULL.
 */
const char *iommu_strerror(int error);

#if defined(IOMMU_FAKE)
/**
 * A machine just out of reset, with no devices.
 */
struct iommu_fake *iommu_fake_create(void);
#endif

#if defined(IOMMU_FAKE)
/**
 * Ends a machine, whose IOMMU has been destroyed. NULL is ignored.
 */
int iommu_fake_destroy(struct iommu_fake *fake);
#endif

#if defined(IOMMU_FAKE)
/**
 * The machine's IOMMU and memory, as iommu_create wants them.
 *
 * # Safety
 * The machine is not ended for as long as the platform is used; `platform` is NULL or points to memory for one.
 */
int iommu_fake_platform(struct iommu_fake *fake,
                        struct iommu_platform *platform);
#endif

#if defined(IOMMU_FAKE)
/**
 * Puts a device on the bus that speaks ATS and PRI. If `completes` is false it never completes an invalidation.
 */
int iommu_fake_attach(struct iommu_fake *fake,
                      uint32_t device_id,
                      bool completes);
#endif

#if defined(IOMMU_FAKE)
/**
 * A device's access to a virtual address, through its translation cache. Returns 0 and the physical address, 1 if the
 * page is not there, 2 if the IOMMU refuses.
 *
 * # Safety
 * `paddr` is NULL or points to memory for an address.
 */
int iommu_fake_access(struct iommu_fake *fake,
                      uint32_t device_id,
                      uint32_t pasid,
                      uint64_t address,
                      bool write,
                      uint64_t *paddr);
#endif

#if defined(IOMMU_FAKE)
/**
 * A device asks for a page, in a group of its own.
 */
int iommu_fake_page_request(struct iommu_fake *fake,
                            uint32_t device_id,
                            uint32_t pasid,
                            uint16_t index,
                            uint64_t address,
                            bool write);
#endif

#if defined(IOMMU_FAKE)
/**
 * The code of the last answer to a page request that a device has got since the last call.
 *
 * Errors: IOMMU_ERROR_AGAIN: there was none.
 */
int iommu_fake_response(struct iommu_fake *fake, uint32_t device_id);
#endif

#if defined(IOMMU_FAKE)
/**
 * How often the driver, or the program, did something that software must not do.
 */
int iommu_fake_violations(struct iommu_fake *fake);
#endif

/**
 * Fills in what is usual: 8-bit device ids, queues of a page each, ten million ticks (a thousand million for devices),
 * polling, PASIDs of its own.
 *
 * # Safety
 * `config` is NULL or points to memory for one.
 */
int iommu_config_init(struct iommu_config *config);

/**
 * PASIDs from 1 to `max`, for several IOMMUs to share.
 *
 * Errors: IOMMU_ERROR_INVALID: `max` is 0 or larger than 2^20 - 1. IOMMU_ERROR_MEMORY.
 */
struct iommu_pasid_space *iommu_pasid_space_create(uint32_t max);

/**
 * Lets go of PASIDs. They live on as long as IOMMUs and address spaces use them. NULL is ignored.
 *
 * Errors: IOMMU_ERROR_INVALID, IOMMU_ERROR_STALE.
 */
int iommu_pasid_space_put(struct iommu_pasid_space *space);

/**
 * Brings an IOMMU up: with queues and an empty device directory, in which everything is refused until its device is
 * enabled. `config` may be NULL for what is usual.
 *
 * # Safety
 * `platform` is NULL or points to functions that do what `iommu_platform` says, with its context, from any thread, for
 * as long as the IOMMU exists; it is copied. `config` is NULL or points to one.
 */
struct iommu *iommu_create(const struct iommu_platform *platform,
                           const struct iommu_config *config);

/**
 * Lets go of an IOMMU. When nothing is bound to it any more it is set to Off, in which it refuses everything. NULL is
 * ignored. Nobody is calling anything with it, nor an interrupt handler about to.
 *
 * Errors: IOMMU_ERROR_INVALID, IOMMU_ERROR_STALE.
 */
int iommu_destroy(struct iommu *iommu);

/**
 * Switches an IOMMU off, so that its power can be taken. Devices are idle. Everything stays bound, no register is touched
 * until iommu_resume, and what is bound, unbound or invalidated meanwhile counts from then on.
 */
int iommu_suspend(struct iommu *iommu);

/**
 * Brings an IOMMU back that was suspended, or was reset behind the driver's back: calls return IOMMU_ERROR_RESET then, and
 * the reports of the service calls say so. Everything is bound as before. An invalidation that failed for a reset
 * is to be repeated after this.
 */
int iommu_resume(struct iommu *iommu);

/**
 * Switches an IOMMU off and on again, with everything bound as before: for one that does not do what it should.
 */
int iommu_reset(struct iommu *iommu);

/**
 * Has messages up to a level (enum iommu_log_level) passed to a function, with their length; they are not terminated,
 * and cut off after 240 bytes. Once per program: later calls are refused with IOMMU_ERROR_EXISTS.
 *
 * # Safety
 * `sink` is NULL or can be called from any thread for as long as the program runs, also with the driver's locks held
 * and from interrupt handlers that call the driver, and does not call the driver.
 */
int iommu_log_to(int level,
                 void (*sink)(int level, const char *message, size_t length));

/**
 * An address space whose page table has this format (enum iommu_page_table) and this root page (a physical address). The
 * operating system then has the duties that iommu_invalidate_range, iommu_invalidate_shared_tables and iommu_mm_exit
 * tell of.
 *
 * No entry of the table, leaf or not, that leads to a page that devices may use has the G bit (global): a global translation
 * outlives an invalidation by address space, and the device could go on using a page that was unmapped.
 *
 * Errors: IOMMU_ERROR_INVALID: the format does not exist, or `ops` is NULL. IOMMU_ERROR_MEMORY.
 *
 * # Safety
 * `ops` is NULL or points to functions that do what `iommu_mm_ops` says, with `context`, from any thread, until
 * `release` is called. It is copied.
 */
struct iommu_mm *iommu_mm_create(const struct iommu_mm_ops *ops,
                                 void *context,
                                 int page_table,
                                 uint64_t root);

/**
 * Lets go of an address space. It lives on as long as it is bound, or used by a call that is running: whoever is the last
 * calls `release`. NULL is ignored.
 *
 * Errors: IOMMU_ERROR_INVALID, IOMMU_ERROR_STALE.
 */
int iommu_mm_put(struct iommu_mm *mm);

/**
 * Makes every device forget what it may have cached of the addresses `start` to `end` (exclusive). The page table has
 * been changed already; pages can be reused when this has returned 0. `tables`: page-table pages are about to be freed.
 *
 * Does not sleep and allocates nothing: may be called from any context where `mask` lets the driver take a spin lock.
 *
 * Errors: IOMMU_ERROR_INVALID, _STALE: a handle. IOMMU_ERROR_TIMEOUT, _HARDWARE, _RESET: the IOMMU did not confirm, so what
 * was unmapped must be taken as still in use.
 */
int iommu_invalidate_range(struct iommu *iommu,
                           struct iommu_mm *mm,
                           uint64_t start,
                           uint64_t end,
                           bool tables);

/**
 * Page-table pages that all address spaces share, those of the kernel, are about to be freed: the IOMMU forgets what it
 * has cached of the tables of every address space. To be called for every IOMMU, after the entries that pointed to
 * them are gone, and before the pages are used for something else; they can be when this has returned 0. May be called
 * from the same contexts as iommu_invalidate_range.
 *
 * Errors: IOMMU_ERROR_INVALID, _STALE: the handle. IOMMU_ERROR_TIMEOUT, _HARDWARE, _RESET: the IOMMU did not confirm, so the
 * pages must be taken as still in use.
 */
int iommu_invalidate_shared_tables(struct iommu *iommu);

/**
 * The address space is dying: calls the `mm_exit` of each of its bonds once, then has all accesses with its PASID
 * refused. To be called for every IOMMU where it may be bound, while the page tables are still there; they are freed
 * after 0 was returned. Bonds remain to be unbound.
 */
int iommu_mm_exit(struct iommu *iommu,
                  struct iommu_mm *mm);

/**
 * Resolves page requests, at most `budget` groups, and answers the devices. Called after the page-request interrupt, or
 * from time to time, from any number of ordinary threads. `report` may be NULL.
 *
 * # Safety
 * `report` is NULL or points to memory for one.
 */
int iommu_service_page_requests(struct iommu *iommu,
                                size_t budget,
                                struct iommu_page_request_report *report);

/**
 * The part of that for interrupt handlers: takes requests out of the IOMMU's queue. Returns whether
 * iommu_service_page_requests has something to do: 1 or 0.
 */
int iommu_receive_page_requests(struct iommu *iommu);

/**
 * Empties the fault queue and calls the `fault` callbacks of the bonds concerned. Called on the fault interrupt, or
 * from time to time. `report` may be NULL. iommu_service_faults_each also shows the records.
 *
 * # Safety
 * `report` is NULL or points to memory for one.
 */
int iommu_service_faults(struct iommu *iommu,
                         struct iommu_fault_report *report);

/**
 * The same, and calls `each` with `context` for every record, oldest first, but for those that were dropped. `each` may
 * be NULL; it runs without driver locks. Can be called from an interrupt handler.
 *
 * # Safety
 * `each` can be called with `context`; `report` is NULL or points to memory for one.
 */
int iommu_service_faults_each(struct iommu *iommu,
                              void (*each)(void *context, const struct iommu_fault_record *record),
                              void *context,
                              struct iommu_fault_report *report);

/**
 * Fills in what the driver has counted, up to `count` numbers, and returns how many there are. The names live for ever.
 *
 * # Safety
 * `entries` points to memory for `count` entries, or is NULL and `count` 0.
 */
int iommu_statistics(const struct iommu *iommu,
                     struct iommu_statistic *entries,
                     size_t count);

/**
 * Binds a device to an address space: the device may use its virtual addresses with the handle's PASID. The same two
 * give the same handle, and as many unbinds are needed as there were binds.
 *
 * Errors: IOMMU_ERROR_DEVICE, _LEAVING, _NO_PASID, _WIDE, _FOREIGN_PASID, _NO_TAG, _INVALID, _STALE, _EXITED, _MEMORY.
 *
 * # Safety
 * `dev` is NULL or points to a device.
 */
struct iommu_sva *iommu_sva_bind_device(const struct iommu_device *dev,
                                        struct iommu_mm *mm);

/**
 * Gives a bind back. Before the last one the device has been told to stop using the PASID, and what it had issued has
 * reached the IOMMU. When that returns, the device can't reach the address space, and no callback runs or will run. It
 * can't fail for a handle that is bound. The device driver always does so in the end, also after the address space has
 * exited.
 *
 * Errors: IOMMU_ERROR_INVALID: the handle is none. IOMMU_ERROR_STALE: its last unbind was before this. Nothing was done then.
 */
int iommu_sva_unbind_device(struct iommu_sva *handle);

/**
 * The PASID that the device uses for the address space: 20 bits, not 0.
 *
 * Errors: IOMMU_ERROR_INVALID, IOMMU_ERROR_STALE.
 */
int iommu_sva_get_pasid(const struct iommu_sva *handle);

/**
 * Attaches callbacks to a bond. The same `ops` and `drvdata` again do nothing; others are refused, and what is attached
 * stays. `ops` is copied, but told from others by its address.
 *
 * `drvdata` is the device driver's and remains so: the library hands it to the callbacks, neither looks into it nor frees
 * it, and keeps it until the last unbind of the bond has returned. Then, not before, the device driver may free it: not in
 * `mm_exit`, after which the handle is still to be unbound; and where a callback makes the last unbind itself, after that callback
 * has returned. A `drvdata` that holds the handle is no exception: nobody unbinds it but the device driver.
 *
 * Errors: IOMMU_ERROR_INVALID: the handle is none, or `ops` is NULL. IOMMU_ERROR_STALE. IOMMU_ERROR_EXISTS: others are attached.
 * IOMMU_ERROR_EXITED. IOMMU_ERROR_MEMORY.
 *
 * # Safety
 * `ops` is NULL or points to functions that do what `iommu_sva_ops` says, with `drvdata`, from any thread, until the
 * last unbind has returned.
 */
int iommu_sva_set_ops(struct iommu_sva *handle,
                      const struct iommu_sva_ops *ops,
                      void *drvdata);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PASIDON_H */
