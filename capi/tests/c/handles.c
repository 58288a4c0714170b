/*
 * Every function of the header with every pointer that it takes: NULL, an error, a number that is no handle, handles of
 * other kinds, and handles that were given back. For each parameter that was gone through a line is printed, `function
 * parameter`; the test that runs this knows from the header which there are.
 */
#include "check.h"

enum kind { IOMMU, MM, PASIDS, SVA, FAKE, KINDS };

/* Of each kind one that is good and one that was given back. */
static void *alive[KINDS], *stale[KINDS];

struct wrong {
    void *handle;
    int error;
};

#define WRONG (4 + 2 * KINDS)

/* Everything that is not a handle of this kind, and what a function says about it. */
static const struct wrong *wrongs(enum kind kind)
{
    static struct wrong list[WRONG];
    static int here;
    int count = 0;
    list[count++] = (struct wrong){NULL, IOMMU_ERROR_INVALID};
    list[count++] = (struct wrong){(void *)(intptr_t)-IOMMU_ERROR_MEMORY, IOMMU_ERROR_INVALID};
    list[count++] = (struct wrong){&here, IOMMU_ERROR_INVALID};
    list[count++] = (struct wrong){(void *)(uintptr_t)0x1001, IOMMU_ERROR_INVALID};
    for (enum kind other = 0; other < KINDS; other++)
        if (other != kind) {
            list[count++] = (struct wrong){alive[other], IOMMU_ERROR_INVALID};
            list[count++] = (struct wrong){stale[other], IOMMU_ERROR_INVALID};
        }
    list[count++] = (struct wrong){stale[kind], IOMMU_ERROR_STALE};
    /* A generation that the slot has not come to. */
    list[count++] = (struct wrong){(void *)((uintptr_t)alive[kind] + ((uintptr_t)1 << (sizeof(uintptr_t) * 8 - 2))),
                                   IOMMU_ERROR_INVALID};
    CHECK(count == WRONG);
    return list;
}

static void expect(const char *function, const char *parameter, const void *handle, int got, int wanted)
{
    if (got != wanted) {
        fprintf(stderr, "%s: %s %p: %d instead of %d (%s)\n", function, parameter, handle, got, wanted, iommu_strerror(wanted));
        exit(1);
    }
}

static int said(const void *pointer)
{
    CHECK(IOMMU_IS_ERR(pointer));
    return IOMMU_PTR_ERR(pointer);
}

static void done(const char *function, const char *parameter)
{
    printf("%s %s\n", function, parameter);
}

/* `call` uses `bad`, the handle. */
#define HANDLE(function, parameter, kind, call)                                        \
    do {                                                                               \
        for (int n = 0; n < WRONG; n++) {                                              \
            void *bad = wrongs(kind)[n].handle;                                        \
            expect(#function, #parameter, bad, function call, -wrongs(kind)[n].error); \
        }                                                                              \
        done(#function, #parameter);                                                   \
    } while (0)

/* The same where what is returned is a pointer. */
#define HANDLE_POINTER(function, parameter, kind, call)                                      \
    do {                                                                                     \
        for (int n = 0; n < WRONG; n++) {                                                    \
            void *bad = wrongs(kind)[n].handle;                                              \
            expect(#function, #parameter, bad, said(function call), -wrongs(kind)[n].error); \
        }                                                                                    \
        done(#function, #parameter);                                                         \
    } while (0)

/* The same where NULL is ignored. */
#define HANDLE_OR_NULL(function, parameter, kind, call)                                                \
    do {                                                                                               \
        for (int n = 0; n < WRONG; n++) {                                                              \
            void *bad = wrongs(kind)[n].handle;                                                        \
            expect(#function, #parameter, bad, function call, bad ? -wrongs(kind)[n].error : 0);       \
        }                                                                                              \
        done(#function, #parameter);                                                                   \
    } while (0)

/* A device of which the IOMMU is bad; or which is NULL. */
#define DEVICE(function, parameter, call)                                                      \
    do {                                                                                       \
        for (int n = 0; n < WRONG; n++) {                                                      \
            struct iommu_device there = {wrongs(IOMMU)[n].handle, 5}, *bad = &there;           \
            expect(#function, #parameter, there.iommu, function call, -wrongs(IOMMU)[n].error); \
        }                                                                                      \
        struct iommu_device *bad = NULL;                                                       \
        expect(#function, #parameter, bad, function call, -IOMMU_ERROR_INVALID);               \
        done(#function, #parameter);                                                           \
    } while (0)

/* NULL for what has to be there. */
#define WANTED(function, parameter, call)                                         \
    do {                                                                          \
        expect(#function, #parameter, NULL, function call, -IOMMU_ERROR_INVALID); \
        done(#function, #parameter);                                              \
    } while (0)

/* NULL for what need not be there: the same as with it. */
#define OPTIONAL(function, parameter, call)                     \
    do {                                                        \
        expect(#function, #parameter, NULL, function call, 0);  \
        done(#function, #parameter);                            \
    } while (0)

static unsigned releases;

static void release(void *context)
{
    ++*(unsigned *)context;
}

static const struct iommu_mm_ops mm_ops = {NULL, release};
static const struct iommu_sva_ops sva_ops = {NULL, NULL};
static struct iommu_platform platform;
static struct iommu_device device;

static struct iommu_mm *new_mm(void)
{
    struct iommu_mm *mm = iommu_mm_create(&mm_ops, &releases, IOMMU_PAGE_TABLE_SV39, new_page(&platform));
    CHECK(!IOMMU_IS_ERR(mm));
    return mm;
}

/* Two of each kind; the second is given back. */
static void make(void)
{
    struct iommu_fake *fake = iommu_fake_create(), *gone = iommu_fake_create();
    CHECK(!IOMMU_IS_ERR(fake) && !IOMMU_IS_ERR(gone));
    CHECK(iommu_fake_platform(gone, &platform) == 0);
    struct iommu *old = new_iommu(&platform, NULL);
    CHECK(iommu_destroy(old) == 0 && iommu_fake_destroy(gone) == 0);
    CHECK(iommu_fake_platform(fake, &platform) == 0 && iommu_fake_attach(fake, 5, true) == 0);
    struct iommu_pasid_space *space = iommu_pasid_space_create(100), *empty = iommu_pasid_space_create(100);
    CHECK(!IOMMU_IS_ERR(space) && !IOMMU_IS_ERR(empty) && iommu_pasid_space_put(empty) == 0);
    device = (struct iommu_device){new_iommu(&platform, space), 5};
    CHECK(iommu_device_enable_sva(&device, 20, false) == 0 && iommu_device_enable_ats(&device, -1) == 0);
    struct iommu_mm *mm = new_mm(), *dead = new_mm();
    CHECK(iommu_mm_put(dead) == 0 && releases == 1);
    struct iommu_sva *sva = iommu_sva_bind_device(&device, mm);
    CHECK(!IOMMU_IS_ERR(sva) && iommu_sva_unbind_device(sva) == 0);
    void *first[KINDS] = {old, dead, empty, sva, gone};
    memcpy(stale, first, sizeof stale);
    sva = iommu_sva_bind_device(&device, mm);
    CHECK(!IOMMU_IS_ERR(sva) && sva != stale[SVA]);
    void *second[KINDS] = {device.iommu, mm, space, sva, fake};
    memcpy(alive, second, sizeof alive);
}

static void of_iommus(void)
{
    HANDLE_OR_NULL(iommu_destroy, iommu, IOMMU, (bad));
    HANDLE(iommu_suspend, iommu, IOMMU, (bad));
    HANDLE(iommu_resume, iommu, IOMMU, (bad));
    HANDLE(iommu_reset, iommu, IOMMU, (bad));
    HANDLE(iommu_invalidate_shared_tables, iommu, IOMMU, (bad));
    HANDLE(iommu_invalidate_range, iommu, IOMMU, (bad, alive[MM], 0, PAGE, false));
    HANDLE(iommu_invalidate_range, mm, MM, (alive[IOMMU], bad, 0, PAGE, false));
    HANDLE(iommu_mm_exit, iommu, IOMMU, (bad, alive[MM]));
    HANDLE(iommu_mm_exit, mm, MM, (alive[IOMMU], bad));
    HANDLE(iommu_receive_page_requests, iommu, IOMMU, (bad));
    HANDLE(iommu_service_page_requests, iommu, IOMMU, (bad, 1, NULL));
    OPTIONAL(iommu_service_page_requests, report, (alive[IOMMU], 1, NULL));
    HANDLE(iommu_service_faults, iommu, IOMMU, (bad, NULL));
    OPTIONAL(iommu_service_faults, report, (alive[IOMMU], NULL));
    HANDLE(iommu_service_faults_each, iommu, IOMMU, (bad, NULL, NULL, NULL));
    OPTIONAL(iommu_service_faults_each, each, (alive[IOMMU], NULL, NULL, NULL));
    OPTIONAL(iommu_service_faults_each, context, (alive[IOMMU], NULL, NULL, NULL));
    OPTIONAL(iommu_service_faults_each, report, (alive[IOMMU], NULL, NULL, NULL));
    HANDLE(iommu_statistics, iommu, IOMMU, (bad, NULL, 0));
    WANTED(iommu_statistics, entries, (alive[IOMMU], NULL, 1));
    CHECK(iommu_statistics(alive[IOMMU], NULL, 0) > 0);
}

/* What makes an IOMMU: every function that must be there is missed, and what is out of range refused. */
static void of_creation(void)
{
    WANTED(iommu_config_init, config, (NULL));
    CHECK(said(iommu_create(NULL, NULL)) == -IOMMU_ERROR_INVALID);
    struct iommu_platform lame = platform;
#define MISSING(function)                                                 \
    lame = platform;                                                      \
    lame.function = NULL;                                                 \
    CHECK(said(iommu_create(&lame, NULL)) == -IOMMU_ERROR_INVALID)
    MISSING(read32);
    MISSING(read64);
    MISSING(write32);
    MISSING(write64);
    MISSING(alloc);
    MISSING(free);
    MISSING(load64);
    MISSING(store64);
    MISSING(fence);
    MISSING(now);
    done("iommu_create", "platform");
    struct iommu_config config;
    CHECK(iommu_config_init(&config) == 0);
    for (int n = 1; n < WRONG; n++) {
        config.pasids = wrongs(PASIDS)[n].handle;
        expect("iommu_create", "config.pasids", config.pasids, said(iommu_create(&platform, &config)), -wrongs(PASIDS)[n].error);
    }
    config.pasids = NULL;
    config.device_id_width = 25;
    CHECK(said(iommu_create(&platform, &config)) == -IOMMU_ERROR_INVALID);
    config.device_id_width = 8;
    config.fault_vector = -2;
    CHECK(said(iommu_create(&platform, &config)) == -IOMMU_ERROR_INVALID);
    struct iommu_fake *other = iommu_fake_create();
    struct iommu_platform others;
    CHECK(iommu_fake_platform(other, &others) == 0);
    struct iommu *usual = iommu_create(&others, NULL);
    CHECK(!IOMMU_IS_ERR(usual) && iommu_destroy(usual) == 0 && iommu_fake_destroy(other) == 0);
    done("iommu_create", "config");
    CHECK(said(iommu_pasid_space_create(0)) == -IOMMU_ERROR_INVALID);
    CHECK(said(iommu_pasid_space_create(1 << 20)) == -IOMMU_ERROR_INVALID);
    done("iommu_pasid_space_create", "");
    HANDLE_OR_NULL(iommu_pasid_space_put, space, PASIDS, (bad));
    HANDLE_OR_NULL(iommu_mm_put, mm, MM, (bad));
    CHECK(said(iommu_mm_create(NULL, NULL, IOMMU_PAGE_TABLE_SV39, 0)) == -IOMMU_ERROR_INVALID);
    done("iommu_mm_create", "ops");
    unsigned before = releases;
    CHECK(said(iommu_mm_create(&mm_ops, &releases, 40, 0)) == -IOMMU_ERROR_INVALID && releases == before);
    struct iommu_mm_ops nothing = {NULL, NULL};
    struct iommu_mm *mm = iommu_mm_create(&nothing, NULL, IOMMU_PAGE_TABLE_SV39, 0);
    CHECK(!IOMMU_IS_ERR(mm) && iommu_mm_put(mm) == 0);
    done("iommu_mm_create", "context");
}

static void of_devices(void)
{
    DEVICE(iommu_device_enable_sva, device, (bad, 8, false));
    DEVICE(iommu_device_disable_sva, device, (bad));
    DEVICE(iommu_device_enable_ats, device, (bad, -1));
    DEVICE(iommu_device_disable_ats, device, (bad));
    DEVICE(iommu_device_enable_pri, device, (bad, 8, false));
    DEVICE(iommu_device_disable_pri, device, (bad));
    DEVICE(iommu_device_cut_off, device, (bad));
    DEVICE(iommu_device_reinstate, device, (bad));
    struct iommu_device_state state;
    DEVICE(iommu_device_get_state, device, (bad, &state));
    WANTED(iommu_device_get_state, state, (&device, NULL));
    CHECK(iommu_device_enable_ats(&device, -2) == -IOMMU_ERROR_INVALID);
    CHECK(iommu_device_enable_ats(&device, 256) == -IOMMU_ERROR_INVALID);
    struct iommu_device stranger = {device.iommu, 6};
    CHECK(iommu_device_get_state(&stranger, &state) == -IOMMU_ERROR_DEVICE);
    CHECK(iommu_device_enable_sva(&stranger, 0, false) == -IOMMU_ERROR_INVALID);
    CHECK(iommu_device_enable_sva(&stranger, 21, false) == -IOMMU_ERROR_INVALID);
    stranger.id = 1 << 8;
    CHECK(iommu_device_enable_sva(&stranger, 8, false) == -IOMMU_ERROR_INVALID);
    stranger.id = UINT32_MAX;
    CHECK(iommu_device_enable_sva(&stranger, 8, false) == -IOMMU_ERROR_INVALID);
}

static void of_bonds(void)
{
#define BIND(device_) iommu_sva_bind_device(device_, alive[MM])
    for (int n = 0; n < WRONG; n++) {
        struct iommu_device there = {wrongs(IOMMU)[n].handle, 5};
        expect("iommu_sva_bind_device", "dev", there.iommu, said(BIND(&there)), -wrongs(IOMMU)[n].error);
    }
    CHECK(said(BIND(NULL)) == -IOMMU_ERROR_INVALID);
    done("iommu_sva_bind_device", "dev");
    HANDLE_POINTER(iommu_sva_bind_device, mm, MM, (&device, bad));
    HANDLE(iommu_sva_unbind_device, handle, SVA, (bad));
    HANDLE(iommu_sva_get_pasid, handle, SVA, (bad));
    HANDLE(iommu_sva_set_ops, handle, SVA, (bad, &sva_ops, NULL));
    WANTED(iommu_sva_set_ops, ops, (alive[SVA], NULL, NULL));
    OPTIONAL(iommu_sva_set_ops, drvdata, (alive[SVA], &sva_ops, NULL));
}

static void of_the_rest(void)
{
    CHECK(iommu_log_to(0, NULL) == -IOMMU_ERROR_INVALID);
    CHECK(iommu_log_to(5, NULL) == -IOMMU_ERROR_INVALID);
    WANTED(iommu_log_to, sink, (IOMMU_LOG_LEVEL_ERROR, NULL));
    for (int error = -200; error <= 200; error++)
        CHECK(iommu_strerror(error) == iommu_strerror(-error) && iommu_strerror(error)[0]);
    CHECK(iommu_strerror(-2147483647 - 1) == iommu_strerror(0));
    done("iommu_strerror", "");
    HANDLE_OR_NULL(iommu_fake_destroy, fake, FAKE, (bad));
    struct iommu_platform filled;
    HANDLE(iommu_fake_platform, fake, FAKE, (bad, &filled));
    WANTED(iommu_fake_platform, platform, (alive[FAKE], NULL));
    HANDLE(iommu_fake_attach, fake, FAKE, (bad, 5, true));
    uint64_t paddr;
    HANDLE(iommu_fake_access, fake, FAKE, (bad, 5, 1, 0, false, &paddr));
    CHECK(iommu_fake_access(alive[FAKE], 5, 1, 0, false, NULL) == 1);
    done("iommu_fake_access", "paddr");
    HANDLE(iommu_fake_page_request, fake, FAKE, (bad, 5, 1, 0, 0, false));
    HANDLE(iommu_fake_response, fake, FAKE, (bad, 5));
    CHECK(iommu_fake_response(alive[FAKE], 5) == -IOMMU_ERROR_AGAIN);
    HANDLE(iommu_fake_violations, fake, FAKE, (bad));
    done("iommu_fake_create", "");
}

int main(void)
{
    make();
    of_iommus();
    of_creation();
    of_devices();
    of_bonds();
    of_the_rest();
    /* Nothing of all that has touched what is good. */
    unsigned before = releases;
    CHECK(iommu_sva_get_pasid(alive[SVA]) > 0);
    CHECK(iommu_sva_unbind_device(alive[SVA]) == 0);
    CHECK(iommu_mm_put(alive[MM]) == 0 && releases == before + 1);
    CHECK(iommu_mm_put(alive[MM]) == -IOMMU_ERROR_STALE && releases == before + 1);
    CHECK(iommu_device_disable_sva(&device) == 0);
    CHECK(iommu_destroy(alive[IOMMU]) == 0 && iommu_destroy(alive[IOMMU]) == -IOMMU_ERROR_STALE);
    CHECK(iommu_pasid_space_put(alive[PASIDS]) == 0 && iommu_pasid_space_put(alive[PASIDS]) == -IOMMU_ERROR_STALE);
    CHECK(iommu_fake_violations(alive[FAKE]) == 0);
    CHECK(iommu_fake_destroy(alive[FAKE]) == 0 && iommu_fake_destroy(alive[FAKE]) == -IOMMU_ERROR_STALE);
    puts("ok");
    return 0;
}
