/* What the example needs of a machine: an IOMMU, memory, and one device that speaks ATS and PRI. */
#ifndef MACHINE_H
#define MACHINE_H

#include "pasidon.h"

struct machine;

/* A machine with the device on its bus. */
struct machine *machine_open(uint32_t device_id);
/* Ends it; returns how often software did what it must not do. */
size_t machine_close(struct machine *machine);
/* Its IOMMU and memory. */
struct iommu_platform machine_platform(struct machine *machine);
/* The device accesses memory: 0 and a physical address, 1 if the page is not there, 2 if it is refused. */
int machine_access(struct machine *machine, uint32_t pasid, uint64_t address, bool write, uint64_t *paddr);
/* The device asks for a page. */
void machine_page_request(struct machine *machine, uint32_t pasid, uint16_t index, uint64_t address, bool write);
/* The answer that the device got: 0 success, 1 invalid, 15 failure, -1 none yet. */
int machine_response(struct machine *machine);

#endif
