/* An IOMMU with one device and one page: a request that is translated, and one that is refused. */
#include "pasidon_golden.h"
#include <stdio.h>
#include <string.h>

static uint64_t ram[0x10000 / 8];
static unsigned reads;

static int ram_read(void *context, uint64_t address, uint32_t bytes, uint64_t *value)
{
	++*(unsigned *)context;
	if (address > sizeof ram - bytes)
		return GOLDEN_ACCESS_FAULT;
	*value = 0;
	memcpy(value, (char *)ram + address, bytes);
	return GOLDEN_ACCESS_OK;
}

static int ram_write(void *context, uint64_t address, uint32_t bytes, uint64_t value)
{
	(void)context;
	if (address > sizeof ram - bytes)
		return GOLDEN_ACCESS_FAULT;
	memcpy((char *)ram + address, &value, bytes);
	return GOLDEN_ACCESS_OK;
}

int main(void)
{
	enum { DIRECTORY = 0x1000, ROOT = 0x2000, MIDDLE = 0x3000, LEAVES = 0x4000, PAGE = 0x80000 };
	const uint64_t va = 0x402000;
	const uint32_t device = 5;
	const struct golden_memory memory = { .context = &reads, .read = ram_read, .write = ram_write };
	struct golden_parameters parameters = golden_parameters_of(golden_full_capabilities());
	char problem[100];

	/* With every feature, a device context has 64 bytes: tc, iohgatp, ta, fsc, and the four words of MSIs. */
	ram[(DIRECTORY + 64 * device) / 8] = 1;
	ram[(DIRECTORY + 64 * device) / 8 + 3] = 8ull << 60 | ROOT >> 12;
	ram[ROOT / 8 + (va >> 30 & 0x1ff)] = MIDDLE >> 12 << 10 | 1;
	ram[MIDDLE / 8 + (va >> 21 & 0x1ff)] = LEAVES >> 12 << 10 | 1;
	/* A, U, R and V. */
	ram[LEAVES / 8 + (va >> 12 & 0x1ff)] = PAGE >> 12 << 10 | 0x53;

	parameters.vectors = 3;
	if (golden_new(&parameters, &memory, problem, sizeof problem))
		return 1;
	puts(problem);
	parameters.vectors = 4;
	struct golden_model *iommu = golden_new(&parameters, &memory, problem, sizeof problem);
	if (!iommu) {
		puts(problem);
		return 1;
	}
	/* ddtp: a directory of one level. */
	golden_write(iommu, 16, 8, (uint64_t)DIRECTORY >> 12 << 10 | 2);
	while (golden_run(iommu))
		;
	for (int write = 0; write < 2; write++) {
		const struct golden_request request = {
			.device_id = device, .process_id = -1, .write = write, .iova = va + 0x123
		};
		struct golden_response response;
		golden_translate(iommu, &request, &response);
		if (response.status == GOLDEN_SUCCESS)
			printf("%s 0x%llx: 0x%llx\n", write ? "write" : "read", (unsigned long long)request.iova,
			       (unsigned long long)response.spa);
		else
			printf("%s 0x%llx: cause %u\n", write ? "write" : "read", (unsigned long long)request.iova,
			       response.cause);
	}
	golden_free(iommu);
	return reads == 0;
}
