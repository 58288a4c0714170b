/* What the tests in C share: a check, and an IOMMU on the fake machine with a device. */
#ifndef CHECK_H
#define CHECK_H

#include "pasidon.h"

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

/* A page of the fake machine's memory, cleared. */
static inline uint64_t new_page(const struct iommu_platform *platform)
{
    uint64_t page = platform->alloc(platform->context, PAGE, PAGE);
    CHECK(page != UINT64_MAX);
    for (uint64_t offset = 0; offset < PAGE; offset += 8)
        platform->store64(platform->context, page + offset, 0);
    return page;
}

static inline struct iommu *new_iommu(const struct iommu_platform *platform, struct iommu_pasid_space *pasids)
{
    struct iommu_config config;
    CHECK(iommu_config_init(&config) == 0);
    config.timeout = 100000;
    config.device_timeout = 200000;
    config.pasids = pasids;
    struct iommu *iommu = iommu_create(platform, &config);
    CHECK(!IOMMU_IS_ERR(iommu));
    return iommu;
}

#endif
