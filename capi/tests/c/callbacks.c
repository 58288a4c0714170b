/*
 * Who owns what a device driver attaches to a bond, and until when: drvdata is the device driver's, the library only
 * passes it on, and not after the last unbind has returned.
 */
#include "check.h"

#define DEVICE 5u
#define NEIGHBOUR 6u
/* Nothing is mapped here, and no page can be asked for. */
#define NOWHERE 0x40000u

struct driver {
    bool alive;
    unsigned exits, faults;
    struct iommu_sva *handle;
    /* Unbind from within the callback, and what became of it. */
    bool unbind_in_fault;
    int unbound;
    struct iommu_fault last;
};

static struct iommu_fake *fake;
static struct iommu *iommu;
static struct iommu_platform platform;

static void mm_exit(struct iommu_sva *handle, void *drvdata)
{
    struct driver *driver = drvdata;
    CHECK(driver->alive && driver->handle == handle);
    driver->exits++;
}

static int fault(struct iommu_sva *handle, void *drvdata, const struct iommu_fault *fault)
{
    struct driver *driver = drvdata;
    CHECK(driver->alive && driver->handle == handle);
    driver->last = *fault;
    if (driver->unbind_in_fault) {
        driver->unbound = iommu_sva_unbind_device(handle);
        CHECK(iommu_sva_get_pasid(handle) == -IOMMU_ERROR_STALE);
    }
    driver->faults++;
    return IOMMU_DECISION_AS_RESOLVED;
}

static const struct iommu_sva_ops ops = {mm_exit, fault}, others = {mm_exit, fault};

/* A fault in a bound address space: the device asks for a page that can't be had, and is answered. */
static void ask(uint32_t device, uint32_t pasid)
{
    static uint16_t index;
    CHECK(iommu_fake_page_request(fake, device, pasid, index++ % 512, NOWHERE, true) == 0);
    int code = -IOMMU_ERROR_AGAIN;
    for (int turn = 0; turn < 10 && code == -IOMMU_ERROR_AGAIN; turn++) {
        CHECK(iommu_service_page_requests(iommu, 16, NULL) == 0);
        code = iommu_fake_response(fake, device);
    }
    CHECK(code == 1);
}

static struct iommu_mm *new_mm(void)
{
    struct iommu_mm_ops mm_ops = {NULL, NULL};
    struct iommu_mm *mm = iommu_mm_create(&mm_ops, NULL, IOMMU_PAGE_TABLE_SV39, new_page(&platform));
    CHECK(!IOMMU_IS_ERR(mm));
    return mm;
}

static struct iommu_sva *bind(struct iommu_device *device, struct iommu_mm *mm)
{
    struct iommu_sva *handle = iommu_sva_bind_device(device, mm);
    CHECK(!IOMMU_IS_ERR(handle));
    return handle;
}

/* The program is one thread. */
static size_t flow(void *context)
{
    (void)context;
    return 1;
}

/* A refused attempt leaves what is attached as it is. */
static void attached_once(struct iommu_device *device, struct iommu_mm *mm)
{
    struct driver a = {.alive = true}, b = {.alive = true};
    struct iommu_sva *handle = a.handle = b.handle = bind(device, mm);
    uint32_t pasid = (uint32_t)iommu_sva_get_pasid(handle);
    CHECK(iommu_sva_set_ops(handle, &ops, &a) == 0);
    CHECK(iommu_sva_set_ops(handle, &ops, &b) == -IOMMU_ERROR_EXISTS);
    CHECK(iommu_sva_set_ops(handle, &others, &a) == -IOMMU_ERROR_EXISTS);
    CHECK(iommu_sva_set_ops(handle, &ops, &a) == 0);
    ask(device->id, pasid);
    CHECK(a.faults == 1 && b.faults == 0);
    /* What a fault is: which device, which PASID, where, and how. */
    CHECK(a.last.device_id == device->id && a.last.pasid == pasid && a.last.recoverable && a.last.cause == 0);
    CHECK(a.last.access.address == NOWHERE && a.last.access.write && a.last.access.read && !a.last.access.execute);
    CHECK(iommu_sva_unbind_device(handle) == 0);
}

/* As many unbinds as binds; drvdata is in use until the last has returned, and is free then. */
static void drvdata_until_the_last_unbind(struct iommu_device *device, struct iommu_device *neighbour, struct iommu_mm *mm)
{
    struct driver *driver = malloc(sizeof *driver), other = {.alive = true};
    CHECK(driver);
    *driver = (struct driver){.alive = true};
    driver->handle = bind(device, mm);
    CHECK(bind(device, mm) == driver->handle);
    other.handle = bind(neighbour, mm);
    uint32_t pasid = (uint32_t)iommu_sva_get_pasid(driver->handle);
    CHECK(iommu_sva_set_ops(driver->handle, &ops, driver) == 0 && iommu_sva_set_ops(other.handle, &ops, &other) == 0);
    CHECK(iommu_sva_unbind_device(driver->handle) == 0);
    ask(device->id, pasid);
    CHECK(driver->faults == 1 && other.faults == 0);
    CHECK(iommu_sva_unbind_device(driver->handle) == 0);
    CHECK(iommu_sva_unbind_device(driver->handle) == -IOMMU_ERROR_STALE);
    driver->alive = false;
    free(driver);
    /* Neither a fault nor the end of the address space comes to where drvdata was. */
    ask(device->id, pasid);
    ask(neighbour->id, pasid);
    CHECK(other.faults == 1);
    CHECK(iommu_mm_exit(iommu, mm) == 0 && other.exits == 1);
    CHECK(iommu_mm_exit(iommu, mm) == 0 && other.exits == 1);
    /* After mm_exit there is still an unbind to come, and until then nothing is told. */
    ask(neighbour->id, pasid);
    CHECK(other.faults == 1 && iommu_sva_unbind_device(other.handle) == 0);
    CHECK(iommu_mm_put(mm) == 0);
}

/* Nothing but an unbind ends a bond, also where drvdata holds the handle and both are forgotten. */
static void nobody_else_unbinds(struct iommu_device *device)
{
    struct driver driver = {.alive = true};
    struct iommu_mm *mm = new_mm();
    driver.handle = bind(device, mm);
    CHECK(iommu_sva_set_ops(driver.handle, &ops, &driver) == 0);
    CHECK(iommu_mm_exit(iommu, mm) == 0 && driver.exits == 1 && iommu_mm_put(mm) == 0);
    struct iommu_device_state state;
    CHECK(iommu_device_get_state(device, &state) == 0 && state.bonds == 1);
    CHECK(iommu_device_disable_sva(device) == -IOMMU_ERROR_BUSY);
    CHECK(iommu_sva_unbind_device(driver.handle) == 0);
    CHECK(iommu_device_get_state(device, &state) == 0 && state.bonds == 0);
}

/* An unbind from within the callback does not wait for it: drvdata is in use until the callback has returned. */
static void unbound_by_its_own_callback(struct iommu_device *device)
{
    struct driver driver = {.alive = true, .unbind_in_fault = true, .unbound = 1};
    struct iommu_mm *mm = new_mm();
    driver.handle = bind(device, mm);
    uint32_t pasid = (uint32_t)iommu_sva_get_pasid(driver.handle);
    CHECK(iommu_sva_set_ops(driver.handle, &ops, &driver) == 0);
    ask(device->id, pasid);
    CHECK(driver.unbound == 0 && driver.faults == 1);
    driver.alive = false;
    ask(device->id, pasid);
    CHECK(iommu_sva_unbind_device(driver.handle) == -IOMMU_ERROR_STALE && iommu_mm_put(mm) == 0);
}

int main(void)
{
    fake = iommu_fake_create();
    CHECK(iommu_fake_platform(fake, &platform) == 0);
    platform.flow = flow;
    iommu = new_iommu(&platform, NULL);
    struct iommu_device devices[2] = {{iommu, DEVICE}, {iommu, NEIGHBOUR}};
    for (int d = 0; d < 2; d++) {
        CHECK(iommu_fake_attach(fake, devices[d].id, true) == 0);
        CHECK(iommu_device_enable_sva(&devices[d], 20, false) == 0 && iommu_device_enable_ats(&devices[d], -1) == 0);
        CHECK(iommu_device_enable_pri(&devices[d], 32, false) == 0);
    }
    struct iommu_mm *mm = new_mm();
    attached_once(&devices[0], mm);
    drvdata_until_the_last_unbind(&devices[0], &devices[1], mm);
    nobody_else_unbinds(&devices[0]);
    unbound_by_its_own_callback(&devices[0]);
    CHECK(iommu_device_disable_sva(&devices[0]) == 0 && iommu_device_disable_sva(&devices[1]) == 0);
    CHECK(iommu_destroy(iommu) == 0 && iommu_fake_violations(fake) == 0 && iommu_fake_destroy(fake) == 0);
    puts("ok");
    return 0;
}
