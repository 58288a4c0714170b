/* The machine of the example: the fake one of the library. */
#include "machine.h"

#include <stdlib.h>

struct machine {
    struct iommu_fake *fake;
    uint32_t device_id;
};

struct machine *machine_open(uint32_t device_id)
{
    struct machine *machine = malloc(sizeof *machine);
    if (!machine)
        abort();
    machine->fake = iommu_fake_create();
    if (IOMMU_IS_ERR(machine->fake))
        abort();
    machine->device_id = device_id;
    iommu_fake_attach(machine->fake, device_id, true);
    return machine;
}

size_t machine_close(struct machine *machine)
{
    size_t violations = (size_t)iommu_fake_violations(machine->fake);
    iommu_fake_destroy(machine->fake);
    free(machine);
    return violations;
}

struct iommu_platform machine_platform(struct machine *machine)
{
    struct iommu_platform platform;
    iommu_fake_platform(machine->fake, &platform);
    return platform;
}

int machine_access(struct machine *machine, uint32_t pasid, uint64_t address, bool write, uint64_t *paddr)
{
    return iommu_fake_access(machine->fake, machine->device_id, pasid, address, write, paddr);
}

void machine_page_request(struct machine *machine, uint32_t pasid, uint16_t index, uint64_t address, bool write)
{
    iommu_fake_page_request(machine->fake, machine->device_id, pasid, index, address, write);
}

int machine_response(struct machine *machine)
{
    int code = iommu_fake_response(machine->fake, machine->device_id);
    return code == -IOMMU_ERROR_AGAIN ? -1 : code;
}
