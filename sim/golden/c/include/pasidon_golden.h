/*
 * Pasidon's golden model of the RISC-V IOMMU, for C. Generated from sim/golden/c/src by
 * `UPDATE=1 cargo test -p pasidon-golden-c`: don't edit.
 *
 * Make a model with golden_new, program it through golden_write as software programs an IOMMU, and ask golden_translate.
 * Nothing takes time: golden_run does what commands and registers have left to do, golden_advance lets clock cycles pass.
 * One model is used by one thread at a time; models know nothing of each other. NULL in place of a model does nothing, and 0 comes
 * back. Sections are those of the RISC-V IOMMU Architecture Specification.
 *
 * Link with libpasidon_golden_c.a and -lpthread -ldl -lm, or load libpasidon_golden_c.so (DPI).
 */

#ifndef PASIDON_GOLDEN_H
#define PASIDON_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * What an access of the model to memory comes to.
 */
enum golden_access {
  /**
   * Done.
   */
  GOLDEN_ACCESS_OK = 0,
  /**
   * Not allowed, or there is nothing.
   */
  GOLDEN_ACCESS_FAULT = 1,
  /**
   * The data is corrupt.
   */
  GOLDEN_ACCESS_CORRUPT = 2,
};

/**
 * What kind of address a request carries.
 */
enum golden_address_type {
  /**
   * An address that the IOMMU translates.
   */
  GOLDEN_UNTRANSLATED = 0,
  /**
   * The device asks for the translation of the address (ATS).
   */
  GOLDEN_TRANSLATION_REQUEST = 1,
  /**
   * An address that the device got as the answer to a translation request.
   */
  GOLDEN_TRANSLATED = 2,
};

/**
 * How a request is answered.
 */
enum golden_status {
  /**
   * Success; of a translation request possibly without any permission.
   */
  GOLDEN_SUCCESS = 0,
  /**
   * Unsupported request.
   */
  GOLDEN_UNSUPPORTED_REQUEST = 1,
  /**
   * Completer abort.
   */
  GOLDEN_COMPLETER_ABORT = 4,
};

/**
 * A model.
 */
struct golden_model;

/**
 * Size and options of an IOMMU. Widths are in bits, sizes as log2 of the most entries.
 */
struct golden_parameters {
  /**
   * The `capabilities` register.
   */
  uint64_t capabilities;
  /**
   * Width of a device_id, 1 to 24.
   */
  uint32_t device_id_width;
  /**
   * Width of a process_id, 1 to 20.
   */
  uint32_t process_id_width;
  /**
   * Of the command queue, 1 to 32.
   */
  uint32_t command_log2_max;
  /**
   * Of the fault queue, 1 to 32.
   */
  uint32_t fault_log2_max;
  /**
   * Of the page-request queue, 1 to 32.
   */
  uint32_t page_request_log2_max;
  /**
   * Interrupt vectors: 1, 2, 4, 8 or 16.
   */
  uint32_t vectors;
  /**
   * Event counters of the performance monitor, 0 to 31.
   */
  uint32_t hpm_counters;
  /**
   * ATS invalidation requests that may be in flight, 1 to 32.
   */
  uint32_t invalidations_in_flight;
  /**
   * Clock cycles after which an ATS invalidation request has timed out; 0: never.
   */
  uint64_t invalidation_timeout;
  /**
   * Entries and translations are remembered until they are invalidated; otherwise all tables are read for each request.
   */
  bool caching;
};

/**
 * The memory that the model accesses. Addresses are physical and aligned, values little-endian, and `bytes` is 4 or 8. Each function
 * returns one of golden_access. None of them calls the model.
 */
struct golden_memory {
  /**
   * Handed to the functions.
   */
  void *context;
  /**
   * Puts what is at `address` into `value`.
   */
  int (*read)(void *context, uint64_t address, uint32_t bytes, uint64_t *value);
  /**
   * Stores `value`.
   */
  int (*write)(void *context, uint64_t address, uint32_t bytes, uint64_t value);
  /**
   * Stores `new_value` if `old_value` is there, as one indivisible step, and puts what was there into `seen`. NULL if nobody else
   * changes memory: then it is a read and a write.
   */
  int (*compare_exchange)(void *context,
                          uint64_t address,
                          uint32_t bytes,
                          uint64_t old_value,
                          uint64_t new_value,
                          uint64_t *seen);
};

/**
 * A request of a device. (Section "Process to translate an IOVA".)
 */
struct golden_request {
  /**
   * Requester, 24 bits.
   */
  uint32_t device_id;
  /**
   * process_id (PASID), 20 bits; negative if there is none.
   */
  int32_t process_id;
  /**
   * Supervisor privilege is requested.
   */
  bool privileged;
  /**
   * Read for execute; of a translation request: execute permission is asked for.
   */
  bool exec;
  /**
   * Write; of a translation request: write permission is asked for.
   */
  bool write;
  /**
   * The device is a CXL device of type 1 or 2.
   */
  bool cxl;
  /**
   * One of golden_address_type.
   */
  uint32_t at;
  /**
   * The 4 bytes that a write stores, for memory-resident interrupt files.
   */
  uint32_t data;
  /**
   * The address.
   */
  uint64_t iova;
};

/**
 * The answer to a request.
 */
struct golden_response {
  /**
   * One of golden_status.
   */
  uint32_t status;
  /**
   * CAUSE of the fault, 0 without one. A translation request may succeed without permissions because of one.
   */
  uint32_t cause;
  /**
   * `iotval2` of the fault record.
   */
  uint64_t iotval2;
  /**
   * A fault record is due.
   */
  bool reported;
  /**
   * Reading is allowed.
   */
  bool read;
  /**
   * Writing is allowed.
   */
  bool write;
  /**
   * Execution is allowed.
   */
  bool exec;
  /**
   * The IOMMU has done the write itself (memory-resident interrupt file): the data path drops it.
   */
  bool mrif;
  /**
   * Of a translation completion: U, Global and CXL.io.
   */
  bool untranslated_only;
  /**
   * Of a translation completion: the translation holds for all PASIDs of the device.
   */
  bool global;
  /**
   * Of a translation completion: accesses use CXL.io only.
   */
  bool cxl_io;
  /**
   * The translated address.
   */
  uint64_t spa;
  /**
   * log2 of the bytes around it that are translated by the same rule.
   */
  uint32_t page_shift;
  /**
   * Memory type: 0 PMA, 1 NC, 2 IO.
   */
  uint32_t pbmt;
  /**
   * Resource control identifier, with QoS ids.
   */
  uint32_t rcid;
  /**
   * Monitoring counter identifier, with QoS ids.
   */
  uint32_t mcid;
};

/**
 * A message of the IOMMU to a device. (Section "Requesting translations and page requests from devices".)
 */
struct golden_message {
  /**
   * 0x01 invalidation request, 0x05 page-request group response.
   */
  uint32_t code;
  /**
   * Requester id of the device.
   */
  uint32_t rid;
  /**
   * Segment of the device; negative if the message has none.
   */
  int32_t segment;
  /**
   * PASID; negative if the message has none.
   */
  int32_t process_id;
  /**
   * Tag of an invalidation request.
   */
  uint32_t itag;
  /**
   * Body of the message.
   */
  uint64_t payload;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The `capabilities` value of an IOMMU with every feature, 56-bit physical addresses, and interrupts by wire or message.
 */
uint64_t golden_full_capabilities(void);

/**
 * Parameters with this `capabilities` value and otherwise everything in its greatest size, without caching.
 */
struct golden_parameters golden_parameters_of(uint64_t capabilities);

/**
 * A model after reset, in front of this memory. NULL if a parameter is out of range, or a pointer is NULL: then `error`, unless it is
 * NULL, holds up to `error_bytes` bytes of a message that ends with a zero byte.
 *
 * # Safety
 * The pointers are NULL or valid, `error` for `error_bytes` bytes; the functions of `memory` may be called with its context until
 * the model is freed.
 */
struct golden_model *golden_new(const struct golden_parameters *parameters,
                                const struct golden_memory *memory,
                                char *error,
                                size_t error_bytes);

/**
 * Ends a model.
 *
 * # Safety
 * NULL, or a model that nobody uses any more.
 */
void golden_free(struct golden_model *model);

/**
 * Puts the model into its state after reset. Messages that were not taken are forgotten.
 *
 * # Safety
 * NULL or a model.
 */
void golden_reset(struct golden_model *model);

/**
 * Reads `bytes` (4 or 8) of the registers at `offset`, a multiple of `bytes`, less than 4096; anything else reads 0.
 *
 * # Safety
 * NULL or a model.
 */
uint64_t golden_read(struct golden_model *model,
                     uint32_t offset,
                     uint32_t bytes);

/**
 * Writes `bytes` (4 or 8) of the registers at `offset`, a multiple of `bytes`, less than 4096; anything else has no effect. Commands
 * are carried out by golden_run.
 *
 * # Safety
 * NULL or a model.
 */
void golden_write(struct golden_model *model,
                  uint32_t offset,
                  uint32_t bytes,
                  uint64_t value);

/**
 * Does what is due: completes register writes, carries out commands until the queue is empty, stopped or waits for a device, and
 * sends interrupt messages. Whether anything was done: call it until it was not.
 *
 * # Safety
 * NULL or a model.
 */
bool golden_run(struct golden_model *model);

/**
 * Lets clock cycles pass, for the cycle counter and the time-out of invalidation requests.
 *
 * # Safety
 * NULL or a model.
 */
void golden_advance(struct golden_model *model, uint64_t cycles);

/**
 * Answers a request. A fault that is due is recorded in the fault queue.
 *
 * # Safety
 * NULL or a model, and NULL or valid pointers.
 */
void golden_translate(struct golden_model *model,
                      const struct golden_request *request,
                      struct golden_response *response);

/**
 * Hands over a page request or stop marker of a device, as the two doublewords of a record (section "Page-Request-Queue (PQ)").
 * Whether it reached the queue.
 *
 * # Safety
 * NULL or a model.
 */
bool golden_page_request(struct golden_model *model,
                         uint64_t first,
                         uint64_t second);

/**
 * Hands over an invalidation completion of a device: requester id, segment (negative: none), a bit for each tag that it answers, and
 * how many completions answer each of them, 1 to 8. Whether it answers requests in flight.
 *
 * # Safety
 * NULL or a model.
 */
bool golden_invalidation_completion(struct golden_model *model,
                                    uint32_t rid,
                                    int32_t segment,
                                    uint32_t itags,
                                    uint32_t count);

/**
 * Takes the oldest message to a device. Whether there was one.
 *
 * # Safety
 * NULL or a model, and NULL or a valid pointer.
 */
bool golden_take_message(struct golden_model *model, struct golden_message *message);

/**
 * The interrupt wires: bit i is vector i.
 *
 * # Safety
 * NULL or a model.
 */
uint32_t golden_wires(struct golden_model *model);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PASIDON_GOLDEN_H */
