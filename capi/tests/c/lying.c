/*
 * Hardware whose queue registers read with bits set that are reserved there: each bit, of each head and tail, one at a
 * time; and with each bit of the control registers set for good. No memory is touched but what was given out, no call goes on for ever or confirms what nobody confirmed, and when
 * the hardware tells the truth again a reset brings everything back.
 */
#include "check.h"

/* The registers of the RISC-V IOMMU specification, and the logarithms of the entries of the queues. */
static const struct { const char *name; uint32_t offset; unsigned log2; } REGISTERS[] = {
    {"cqcsr", 72, 0}, {"fqcsr", 76, 0}, {"pqcsr", 80, 0}, {"cqh", 32, 5}, {"cqt", 36, 5}, {"fqh", 48, 4}, {"fqt", 52, 4}, {"pqh", 64, 5}, {"pqt", 68, 5},
};
#define CQH 32u

static struct iommu_platform inner;
static uint32_t where, lie;
static unsigned wild;

static uint32_t read32(void *context, uint32_t offset)
{
    uint32_t value = inner.read32(context, offset);
    return offset == where ? value | lie : value;
}

/* What was given out and not given back. */
static struct { uint64_t paddr, bytes; } blocks[256];

static uint64_t alloc(void *context, size_t bytes, size_t align)
{
    uint64_t paddr = inner.alloc(context, bytes, align);
    for (size_t index = 0; paddr != UINT64_MAX; index++) {
        CHECK(index < 256);
        if (!blocks[index].bytes) {
            blocks[index].paddr = paddr;
            blocks[index].bytes = bytes;
            break;
        }
    }
    return paddr;
}

static void give_back(void *context, uint64_t paddr, size_t bytes)
{
    size_t index = 0;
    while (blocks[index].paddr != paddr || blocks[index].bytes != bytes)
        CHECK(++index < 256);
    blocks[index].bytes = 0;
    inner.free(context, paddr, bytes);
}

static bool inside(uint64_t paddr)
{
    for (size_t index = 0; index < 256; index++)
        if (paddr - blocks[index].paddr < blocks[index].bytes)
            return true;
    wild++;
    return false;
}

static uint64_t load64(void *context, uint64_t paddr)
{
    return inside(paddr) ? inner.load64(context, paddr) : 0;
}

static void store64(void *context, uint64_t paddr, uint64_t value)
{
    if (inside(paddr))
        inner.store64(context, paddr, value);
}

static void try(uint32_t offset, uint32_t bits)
{
    struct iommu_fake *fake = iommu_fake_create();
    CHECK(iommu_fake_platform(fake, &inner) == 0 && iommu_fake_attach(fake, 1, true) == 0);
    memset(blocks, 0, sizeof blocks);
    struct iommu_platform platform = inner;
    platform.read32 = read32;
    platform.alloc = alloc;
    platform.free = give_back;
    platform.load64 = load64;
    platform.store64 = store64;
    where = offset;
    lie = 0;
    struct iommu_config config;
    CHECK(iommu_config_init(&config) == 0);
    config.timeout = 2000;
    config.device_timeout = 4000;
    config.command_queue_log2 = config.page_request_queue_log2 = 5;
    config.fault_queue_log2 = 4;
    struct iommu *iommu = iommu_create(&platform, &config);
    CHECK(!IOMMU_IS_ERR(iommu));
    struct iommu_device device = {iommu, 1};
    CHECK(iommu_device_enable_sva(&device, 20, false) == 0 && iommu_device_enable_ats(&device, -1) == 0);
    CHECK(iommu_device_enable_pri(&device, 16, false) == 0);
    struct iommu_mm_ops ops = {NULL, NULL};
    uint64_t root = alloc(inner.context, PAGE, PAGE), page = alloc(inner.context, PAGE, PAGE), paddr;
    for (uint64_t at = 0; at < PAGE; at += 8)
        store64(inner.context, root + at, 0);
    /* A gigapage. */
    store64(inner.context, root, 0xd7);
    struct iommu_mm *mm = iommu_mm_create(&ops, NULL, IOMMU_PAGE_TABLE_SV39, root);
    struct iommu_sva *handle = iommu_sva_bind_device(&device, mm);
    CHECK(!IOMMU_IS_ERR(mm) && !IOMMU_IS_ERR(handle));
    uint32_t pasid = (uint32_t)iommu_sva_get_pasid(handle);
    CHECK(iommu_fake_access(fake, 1, pasid, page & 0x3fffffff, true, &paddr) == 0);

    lie = bits;
    uint64_t start = inner.now(inner.context);
    int invalidated = iommu_invalidate_range(iommu, mm, 0, PAGE, true);
    /* Without a head that can be believed nobody knows what the IOMMU has done. */
    CHECK(offset != CQH || invalidated < 0);
    (void)iommu_fake_page_request(fake, 1, pasid, 1, 1ull << 38, true);
    (void)iommu_fake_access(fake, 1, pasid + 1, PAGE, true, &paddr);
    for (int turn = 0; turn < 4; turn++) {
        struct iommu_page_request_report requests;
        struct iommu_fault_report faults;
        CHECK(iommu_receive_page_requests(iommu) >= 0);
        CHECK(iommu_service_page_requests(iommu, 8, &requests) == 0 && requests.groups <= 1);
        CHECK(iommu_service_faults(iommu, &faults) == 0 && faults.records <= 1);
    }
    struct iommu_sva *second = iommu_sva_bind_device(&device, mm);
    CHECK(second == handle || IOMMU_IS_ERR(second));
    if (second == handle)
        CHECK(iommu_sva_unbind_device(handle) == 0);
    CHECK(iommu_sva_unbind_device(handle) == 0);
    CHECK(inner.now(inner.context) - start < 40 * config.device_timeout);
    CHECK(wild == 0);

    lie = 0;
    CHECK(iommu_reset(iommu) == 0);
    struct iommu_device_state state;
    CHECK(iommu_device_get_state(&device, &state) == 0);
    if (state.cut_off)
        CHECK(iommu_device_reinstate(&device) == 0);
    handle = iommu_sva_bind_device(&device, mm);
    CHECK(!IOMMU_IS_ERR(handle));
    CHECK(iommu_fake_access(fake, 1, (uint32_t)iommu_sva_get_pasid(handle), PAGE, true, &paddr) == 0 && paddr == PAGE);
    CHECK(iommu_invalidate_range(iommu, mm, 0, PAGE, true) == 0 && iommu_sva_unbind_device(handle) == 0);
    CHECK(iommu_device_disable_sva(&device) == 0 && iommu_mm_put(mm) == 0 && iommu_destroy(iommu) == 0);
    CHECK(wild == 0 && iommu_fake_violations(fake) == 0 && iommu_fake_destroy(fake) == 0);
}

int main(void)
{
    unsigned tried = 0;
    for (size_t which = 0; which < sizeof REGISTERS / sizeof *REGISTERS; which++)
        for (unsigned bit = REGISTERS[which].log2; bit < 32; bit++, tried++)
            try(REGISTERS[which].offset, UINT32_C(1) << bit);
    printf("%u bits\nok\n", tried);
    return 0;
}
