/*
 * Page-table pages that all address spaces share are freed: what iommu_invalidate_shared_tables asks of the IOMMU, in which
 * order, what the IOMMU has forgotten when it returns, and that it says so if the IOMMU does not confirm.
 */
#include "check.h"

/* Registers, and commands, of the RISC-V IOMMU specification. */
#define CQB 24u
#define CQH 32u
#define CQT 36u
#define INVALIDATE_EVERY_SPACE 0x1u /* IOTINVAL.VMA with AV = PSCV = GV = 0 */
#define OPCODE 0x7fu
#define FENCE 0x2u

static struct iommu_platform inner;
static uint64_t queue;
static uint32_t submitted;
static uint64_t commands[16];
static size_t command_count;
static bool frozen;
static uint32_t frozen_head;
/* Whether memory was ordered after the last store of the program, when the IOMMU was told of commands. */
static bool ordered, ordered_when_told;

static uint32_t read32(void *context, uint32_t offset)
{
    return frozen && offset == CQH ? frozen_head : inner.read32(context, offset);
}

static void write32(void *context, uint32_t offset, uint32_t value)
{
    if (offset == CQT) {
        ordered_when_told = ordered;
        for (; submitted != value; submitted = (submitted + 1) % 256) {
            CHECK(command_count + 2 <= 16 || (command_count = 0) == 0);
            commands[command_count++] = inner.load64(context, queue + 16 * submitted);
            commands[command_count++] = inner.load64(context, queue + 16 * submitted + 8);
        }
    }
    inner.write32(context, offset, value);
}

static void write64(void *context, uint32_t offset, uint64_t value)
{
    if (offset == CQB)
        queue = value >> 10 << 12;
    inner.write64(context, offset, value);
}

static void fence(void *context)
{
    ordered = true;
    inner.fence(context);
}

/* An address space in which one page is mapped, through a table that is also another's. */
static struct iommu_mm *space(uint64_t shared, uint64_t *root)
{
    uint64_t middle = new_page(&inner);
    *root = new_page(&inner);
    inner.store64(inner.context, *root, middle >> 2 | 1);
    inner.store64(inner.context, middle, shared >> 2 | 1);
    struct iommu_mm_ops ops = {NULL, NULL};
    struct iommu_mm *mm = iommu_mm_create(&ops, NULL, IOMMU_PAGE_TABLE_SV39, *root);
    CHECK(!IOMMU_IS_ERR(mm));
    return mm;
}

int main(void)
{
    struct iommu_fake *fake = iommu_fake_create();
    CHECK(iommu_fake_platform(fake, &inner) == 0);
    struct iommu_platform platform = inner;
    platform.read32 = read32;
    platform.write32 = write32;
    platform.write64 = write64;
    platform.fence = fence;
    struct iommu *iommu = new_iommu(&platform, NULL);

    uint64_t shared = new_page(&inner), page = new_page(&inner), roots[2], paddr;
    inner.store64(inner.context, shared, page >> 2 | 0xd7);
    struct iommu_mm *mms[2] = {space(shared, &roots[0]), space(shared, &roots[1])};
    /* Three devices, each with a cache of its own, bound to both. */
    struct iommu_device devices[3];
    struct iommu_sva *handles[3][2];
    for (uint32_t d = 0; d < 3; d++) {
        devices[d] = (struct iommu_device){iommu, d + 1};
        CHECK(iommu_fake_attach(fake, d + 1, true) == 0);
        CHECK(iommu_device_enable_sva(&devices[d], 20, false) == 0 && iommu_device_enable_ats(&devices[d], -1) == 0);
        for (int m = 0; m < 2; m++) {
            handles[d][m] = iommu_sva_bind_device(&devices[d], mms[m]);
            CHECK(!IOMMU_IS_ERR(handles[d][m]));
        }
    }
    uint32_t pasids[2] = {(uint32_t)iommu_sva_get_pasid(handles[0][0]), (uint32_t)iommu_sva_get_pasid(handles[0][1])};

    /* The IOMMU walks the shared table for one device; the pointers to the table go; it holds on to what it knows. */
    for (int m = 0; m < 2; m++) {
        CHECK(iommu_fake_access(fake, 1, pasids[m], 0, true, &paddr) == 0 && paddr == page);
        inner.store64(inner.context, roots[m], 0);
        CHECK(iommu_fake_access(fake, 2, pasids[m], 0, true, &paddr) == 0 && paddr == page);
    }
    /* Order is asked of the library, not left over from before. */
    ordered = false;
    command_count = 0;
    CHECK(iommu_invalidate_shared_tables(iommu) == 0);
    CHECK(ordered_when_told);
    CHECK(command_count == 4);
    CHECK(commands[0] == INVALIDATE_EVERY_SPACE && commands[1] == 0 && (commands[2] & OPCODE) == FENCE);
    /* The call returned after the IOMMU had carried both out. */
    CHECK(inner.read32(inner.context, CQH) == submitted);
    for (int m = 0; m < 2; m++)
        CHECK(iommu_fake_access(fake, 3, pasids[m], 0, true, &paddr) == 1);

    /* An IOMMU that does not get anywhere: the pages must be taken as still in use. */
    frozen_head = inner.read32(inner.context, CQH);
    frozen = true;
    command_count = 0;
    CHECK(iommu_invalidate_shared_tables(iommu) < 0);
    frozen = false;
    CHECK(iommu_reset(iommu) == 0);

    for (uint32_t d = 0; d < 3; d++) {
        for (int m = 0; m < 2; m++)
            CHECK(iommu_sva_unbind_device(handles[d][m]) == 0);
        CHECK(iommu_device_disable_sva(&devices[d]) == 0);
    }
    CHECK(iommu_mm_put(mms[0]) == 0 && iommu_mm_put(mms[1]) == 0 && iommu_destroy(iommu) == 0);
    CHECK(iommu_fake_violations(fake) == 0 && iommu_fake_destroy(fake) == 0);
    puts("ok");
    return 0;
}
