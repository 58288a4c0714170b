/*
 * A bare-metal program that links the library: no C library, no operating system. Heap, lock, log and last words are
 * here, and the four functions of memory that compilers take for granted. Registers and memory are at fixed addresses.
 * Linked with -nostdlib -static it refers to nothing else.
 */
#include "pasidon.h"

/* Where the board has things. */
#define REGISTERS 0x3010000ull
#define MEMORY 0x90000000ull
#define MEMORY_BYTES (4ull << 20)

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    unsigned char *t = to;
    const unsigned char *f = from;
    while (count--)
        *t++ = *f++;
    return to;
}

void *memmove(void *to, const void *from, size_t count)
{
    unsigned char *t = to;
    const unsigned char *f = from;
    if ((uintptr_t)t < (uintptr_t)f)
        return memcpy(to, from, count);
    while (count--)
        t[count] = f[count];
    return to;
}

void *memset(void *to, int value, size_t count)
{
    unsigned char *t = to;
    while (count--)
        *t++ = (unsigned char)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t count)
{
    const unsigned char *x = a, *y = b;
    for (; count--; x++, y++)
        if (*x != *y)
            return *x < *y ? -1 : 1;
    return 0;
}

/* ---- What the library wants. One processor, no threads: the lock is nothing, and memory is not returned. ---- */

static unsigned char heap[1 << 18];
static size_t heap_used;

void *iommu_host_alloc(size_t size, size_t align)
{
    size_t start = (heap_used + align - 1) & ~(align - 1);
    if (start + size > sizeof heap)
        return NULL;
    heap_used = start + size;
    return heap + start;
}

void iommu_host_free(void *memory, size_t size, size_t align)
{
    (void)memory, (void)size, (void)align;
}

void iommu_host_lock(void) {}
void iommu_host_unlock(void) {}

void iommu_host_panic(const char *message, size_t length)
{
    (void)message, (void)length;
    for (;;)
        ;
}

/* ---- The board. ---- */

static uint64_t memory_used, ticks;

static uint32_t read32(void *c, uint32_t offset) { (void)c; return *(volatile uint32_t *)(uintptr_t)(REGISTERS + offset); }
static uint64_t read64(void *c, uint32_t offset) { (void)c; return *(volatile uint64_t *)(uintptr_t)(REGISTERS + offset); }
static void write32(void *c, uint32_t offset, uint32_t value) { (void)c; *(volatile uint32_t *)(uintptr_t)(REGISTERS + offset) = value; }
static void write64(void *c, uint32_t offset, uint64_t value) { (void)c; *(volatile uint64_t *)(uintptr_t)(REGISTERS + offset) = value; }
static uint64_t load64(void *c, uint64_t paddr) { (void)c; return *(volatile uint64_t *)(uintptr_t)paddr; }
static void store64(void *c, uint64_t paddr, uint64_t value) { (void)c; *(volatile uint64_t *)(uintptr_t)paddr = value; }
static void fence(void *c) { (void)c; __sync_synchronize(); }
static uint64_t now(void *c) { (void)c; return ticks++; }
static void give_back(void *c, uint64_t paddr, size_t bytes) { (void)c, (void)paddr, (void)bytes; }

static uint64_t take(void *c, size_t bytes, size_t align)
{
    (void)c;
    uint64_t start = (memory_used + align - 1) & ~(uint64_t)(align - 1);
    if (start + bytes > MEMORY_BYTES)
        return UINT64_MAX;
    memory_used = start + bytes;
    return MEMORY + start;
}

static void note(void *context, const struct iommu_fault_record *record)
{
    *(struct iommu_fault_record *)context = *record;
}

void _start(void)
{
    struct iommu_platform platform = {
        .read32 = read32, .read64 = read64, .write32 = write32, .write64 = write64, .alloc = take, .free = give_back,
        .load64 = load64, .store64 = store64, .fence = fence, .now = now,
    };
    struct iommu *iommu = iommu_create(&platform, NULL);
    if (!IOMMU_IS_ERR(iommu)) {
        struct iommu_device device = {iommu, 5};
        struct iommu_mm_ops ops = {NULL, NULL};
        struct iommu_mm *mm = iommu_mm_create(&ops, NULL, IOMMU_PAGE_TABLE_SV39, take(NULL, 4096, 4096));
        if (iommu_device_enable_sva(&device, 8, false) == 0 && !IOMMU_IS_ERR(mm)) {
            struct iommu_sva *handle = iommu_sva_bind_device(&device, mm);
            struct iommu_fault_record last;
            iommu_service_faults_each(iommu, note, &last, NULL);
            iommu_service_page_requests(iommu, 16, NULL);
            iommu_invalidate_range(iommu, mm, 0, 4096, false);
            iommu_mm_exit(iommu, mm);
            iommu_sva_unbind_device(handle);
            iommu_mm_put(mm);
        }
        iommu_destroy(iommu);
    }
    for (;;)
        ;
}
