/*
 * A device driver and the part of an operating system that it needs, in C: a process of which no page is present is
 * bound to a device, which faults its pages in, one page request at a time. Then a page is unmapped, and the process
 * dies while it is bound.
 *
 * Which machine this runs on is for machine.h to say.
 */
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

#define PAGE 4096u
#define DEVICE 5u
#define PAGES 8u

/* Numbers of the RISC-V IOMMU specification, sections "Fault causes" and "Transaction types". */
#define DDT_ENTRY_NOT_VALID 258
#define TRANSLATION_REQUEST 8

/* ---- The operating system: a process with an Sv39 page table that is filled on demand. ---- */

struct process {
    struct iommu_platform memory;
    uint64_t root;
    /* The one mapping that the process has; everything else is forbidden. */
    uint64_t start, end;
    uint64_t pages[64];
    size_t page_count;
    unsigned faults;
    bool busy, alive, released;
};

static uint64_t new_page(struct process *process)
{
    uint64_t page = process->memory.alloc(process->memory.context, PAGE, PAGE);
    CHECK(page != UINT64_MAX && process->page_count < 64);
    for (uint64_t offset = 0; offset < PAGE; offset += 8)
        process->memory.store64(process->memory.context, page + offset, 0);
    process->pages[process->page_count++] = page;
    return page;
}

/* The address of the leaf entry for an address. */
static uint64_t entry(struct process *process, uint64_t address)
{
    uint64_t table = process->root;
    for (int level = 2; level > 0; level--) {
        uint64_t slot = table + 8 * (address >> (12 + 9 * level) & 511);
        uint64_t value = process->memory.load64(process->memory.context, slot);
        if (!(value & 1)) {
            value = new_page(process) >> 2 | 1;
            process->memory.store64(process->memory.context, slot, value);
        }
        table = value >> 10 << 12;
    }
    return table + 8 * (address >> 12 & 511);
}

static int handle_fault(void *context, const struct iommu_access *access)
{
    struct process *process = context;
    process->faults++;
    if (!process->alive || access->address < process->start || access->address >= process->end)
        return IOMMU_RESOLUTION_INVALID;
    if (process->busy) {
        /* Its memory is being written out, say. The driver asks again. */
        process->busy = false;
        return IOMMU_RESOLUTION_NOT_NOW;
    }
    /* Valid, readable, writable, for users, accessed, dirty. */
    uint64_t value = new_page(process) >> 2 | 0xd7;
    process->memory.store64(process->memory.context, entry(process, access->address), value);
    return IOMMU_RESOLUTION_POPULATED;
}

static void release(void *context)
{
    struct process *process = context;
    for (size_t index = 0; index < process->page_count; index++)
        process->memory.free(process->memory.context, process->pages[index], PAGE);
    process->released = true;
}

/* ---- The device driver. ---- */

struct driver {
    unsigned exits, faults;
    struct iommu_sva *handle;
};

static void mm_exit(struct iommu_sva *handle, void *drvdata)
{
    struct driver *driver = drvdata;
    CHECK(handle == driver->handle);
    driver->exits++;
}

static int fault(struct iommu_sva *handle, void *drvdata, const struct iommu_fault *fault)
{
    struct driver *driver = drvdata;
    CHECK(handle == driver->handle && fault->recoverable);
    driver->faults++;
    return IOMMU_DECISION_AS_RESOLVED;
}

static void complain(int level, const char *message, size_t length)
{
    printf("[%d] %.*s\n", level, (int)length, message);
}

static void remember(void *context, const struct iommu_fault_record *record)
{
    *(struct iommu_fault_record *)context = *record;
}

/* The one record that is in the fault queue, or on its way there. */
static struct iommu_fault_record next_record(struct iommu *iommu, const struct iommu_platform *platform)
{
    struct iommu_fault_record record = {0};
    struct iommu_fault_report report = {0};
    for (int turn = 0; turn < 100 && report.records == 0; turn++) {
        platform->relax(platform->context);
        CHECK(iommu_service_faults_each(iommu, remember, &record, &report) == 0);
    }
    CHECK(report.records == 1 && !report.more && !report.overflow && !report.memory_fault && !report.reset);
    return record;
}

static uint64_t statistic(const struct iommu *iommu, const char *name)
{
    struct iommu_statistic entries[64];
    int count = iommu_statistics(iommu, entries, 64);
    CHECK(count > 0 && count <= 64);
    for (int index = 0; index < count; index++)
        if (strlen(name) == entries[index].name_length && !strncmp(name, entries[index].name, strlen(name)))
            return entries[index].value;
    CHECK(!"a statistic of this name");
    return 0;
}

/* An access as a device with PRI makes it: if the page is not there, it asks, and tries again. */
static int access_page(struct machine *machine, struct iommu *iommu, uint32_t pasid, uint64_t address)
{
    static uint16_t index;
    uint64_t paddr;
    int reached = machine_access(machine, pasid, address, true, &paddr);
    if (reached != 1)
        return reached ? -1 : 0;
    machine_page_request(machine, pasid, index++ % 512, address, true);
    int answer = -1;
    for (int turn = 0; turn < 3 && answer < 0; turn++) {
        CHECK(iommu_service_page_requests(iommu, 10, NULL) == 0);
        answer = machine_response(machine);
    }
    if (answer == 0)
        CHECK(machine_access(machine, pasid, address, true, &paddr) == 0);
    return answer;
}

int main(void)
{
    struct machine *machine = machine_open(DEVICE);
    struct iommu_platform platform = machine_platform(machine);
    CHECK(iommu_log_to(IOMMU_LOG_LEVEL_WARNING, complain) == 0);

    struct iommu_config config;
    CHECK(iommu_config_init(&config) == 0);
    config.timeout = 100000;
    struct iommu *iommu = iommu_create(&platform, &config);
    CHECK(!IOMMU_IS_ERR(iommu));
    struct iommu_device device = {iommu, DEVICE};
    CHECK(iommu_device_enable_sva(&device, 20, false) == 0);
    CHECK(iommu_device_enable_sva(&device, 20, false) == -IOMMU_ERROR_EXISTS);
    CHECK(iommu_device_enable_ats(&device, -1) == 0);
    CHECK(iommu_device_enable_pri(&device, 32, false) == 0);

    /* A process that has touched nothing. */
    struct process process = {.memory = platform, .start = 0x10000, .end = 0x10000 + PAGES * PAGE, .alive = true};
    process.root = new_page(&process);
    struct iommu_mm_ops mm_ops = {handle_fault, release};
    struct iommu_mm *mm = iommu_mm_create(&mm_ops, &process, IOMMU_PAGE_TABLE_SV39, process.root);
    CHECK(!IOMMU_IS_ERR(mm));
    CHECK(IOMMU_PTR_ERR(iommu_mm_create(&mm_ops, &process, 40, process.root)) == -IOMMU_ERROR_INVALID);

    struct driver driver = {0};
    struct iommu_device stranger = {iommu, DEVICE + 1};
    struct iommu_sva *failed = iommu_sva_bind_device(&stranger, mm);
    CHECK(IOMMU_IS_ERR(failed) && IOMMU_PTR_ERR(failed) == -IOMMU_ERROR_DEVICE);
    printf("bind to a device that is not enabled: %s\n", iommu_strerror(IOMMU_PTR_ERR(failed)));

    struct iommu_sva *handle = iommu_sva_bind_device(&device, mm);
    CHECK(!IOMMU_IS_ERR(handle));
    CHECK(iommu_sva_bind_device(&device, mm) == handle);
    driver.handle = handle;
    static const struct iommu_sva_ops ops = {mm_exit, fault}, others = {mm_exit, NULL};
    CHECK(iommu_sva_set_ops(handle, &ops, &driver) == 0);
    CHECK(iommu_sva_set_ops(handle, &ops, &driver) == 0);
    CHECK(iommu_sva_set_ops(handle, &others, &driver) == -IOMMU_ERROR_EXISTS);
    CHECK(iommu_sva_get_pasid(handle) > 0);
    uint32_t pasid = (uint32_t)iommu_sva_get_pasid(handle);

    /* Every page is faulted in once, one of them after having been put off. */
    for (unsigned round = 0; round < 2; round++)
        for (uint64_t page = 0; page < PAGES; page++) {
            process.busy = round == 0 && page == 3;
            CHECK(access_page(machine, iommu, pasid, process.start + page * PAGE) == 0);
        }
    CHECK(process.faults == PAGES + 1);
    /* What the process has not mapped is refused, and the device driver hears of it. */
    CHECK(access_page(machine, iommu, pasid, process.end) == 1 && driver.faults == 1);

    /* A page is unmapped: the device has forgotten it when the call returns, and may ask for it again. */
    platform.store64(platform.context, entry(&process, process.start), 0);
    CHECK(iommu_invalidate_range(iommu, mm, process.start, process.start + PAGE, false) == 0);
    uint64_t paddr;
    CHECK(machine_access(machine, pasid, process.start, false, &paddr) == 1);
    CHECK(access_page(machine, iommu, pasid, process.start) == 0);

    /* The process dies while it is bound. */
    process.alive = false;
    CHECK(iommu_mm_exit(iommu, mm) == 0 && driver.exits == 1);
    CHECK(access_page(machine, iommu, pasid, process.start) == 1);
    struct iommu_sva *late = iommu_sva_bind_device(&device, mm);
    CHECK(IOMMU_IS_ERR(late) && IOMMU_PTR_ERR(late) == -IOMMU_ERROR_EXITED);
    CHECK(iommu_mm_put(mm) == 0);
    struct iommu_device_state state;
    CHECK(iommu_device_get_state(&device, &state) == 0 && state.bonds == 1 && state.page_requests);
    CHECK(iommu_sva_unbind_device(handle) == 0);
    CHECK(!process.released);
    CHECK(iommu_sva_unbind_device(handle) == 0);
    CHECK(process.released && driver.exits == 1);
    /* One unbind too many is told, and does nothing. */
    CHECK(iommu_sva_unbind_device(handle) == -IOMMU_ERROR_STALE);
    CHECK(iommu_sva_get_pasid(handle) == -IOMMU_ERROR_STALE);
    CHECK(iommu_sva_set_ops(handle, &ops, &driver) == -IOMMU_ERROR_STALE);

    /* The power goes and comes back. */
    CHECK(iommu_suspend(iommu) == 0 && iommu_resume(iommu) == 0 && iommu_reset(iommu) == 0);
    CHECK(iommu_invalidate_shared_tables(iommu) == 0);

    printf("page requests %u, invalidations %u\n", (unsigned)statistic(iommu, "page_requests"),
           (unsigned)statistic(iommu, "device_invalidations"));
    CHECK(statistic(iommu, "responses_success") == PAGES + 1 && statistic(iommu, "responses_invalid") == 2);
    CHECK(iommu_device_disable_sva(&device) == 0);
    /* A device that is not enabled is refused, and that is recorded: which device, where, how, and why. */
    CHECK(machine_access(machine, pasid, process.start + PAGE, true, &paddr) == 2);
    struct iommu_fault_record record = next_record(iommu, &platform);
    CHECK(record.device_id == DEVICE && record.has_pasid && record.pasid == pasid && !record.privileged);
    CHECK(record.address == process.start + PAGE && record.cause == DDT_ENTRY_NOT_VALID);
    CHECK(record.kind == TRANSLATION_REQUEST && record.detail == 0);
    CHECK(iommu_destroy(iommu) == 0);
    CHECK(machine_close(machine) == 0);
    puts("ok");
    return 0;
}
