/*
 * The machine of the example: simulated hardware, remote-controlled. `pasidon serve` owns the IOMMU, the clock and the
 * memory and is spoken to in lines of JSON over pipes (docs/serve.md); the device with its translation cache is here.
 *
 * The environment says what to run: PASIDON (the command, "pasidon"), PASIDON_DESIGN ("default"), PASIDON_ENGINE
 * ("rtl"). For one thread.
 */
#define _POSIX_C_SOURCE 200809L
#include "machine.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MEMORY 0x1000000u
#define CYCLES_PER_TURN 200
#define CACHED 64
#define BLOCKS 1024

struct translation {
    bool valid, write;
    uint32_t pasid;
    uint64_t first, last, paddr;
};

struct block {
    uint64_t paddr;
    size_t bytes;
};

struct machine {
    FILE *requests, *answers;
    pid_t child;
    uint32_t device_id;
    char *line;
    size_t capacity;
    uint64_t cycle;
    /* Memory behind `top` was never used; what was given back is in `blocks`. */
    uint64_t top;
    struct block blocks[BLOCKS];
    size_t block_count;
    /* What the device knows of addresses, until it is told to forget it. */
    struct translation cache[CACHED];
    size_t next;
    /* The group that waits for its answer, or -1, and the last answer. */
    int waiting, response;
    size_t violations;
};

static void fail(const char *what, const char *line)
{
    fprintf(stderr, "simulated machine: %s%s%s\n", what, line ? ": " : "", line ? line : "");
    exit(1);
}

/* ---- JSON, as far as the answers have it: the value of a field behind `at`, before `end`. ---- */

static const char *field(const char *at, const char *end, const char *name)
{
    size_t length = strlen(name);
    for (; at + length + 3 < end; at++)
        if (at[0] == '"' && !strncmp(at + 1, name, length) && at[length + 1] == '"' && at[length + 2] == ':') {
            at += length + 3;
            return at + strspn(at, " ");
        }
    return NULL;
}

static uint64_t number(const char *at, const char *end, const char *name)
{
    const char *value = field(at, end, name);
    if (!value)
        fail("an answer has no such field", name);
    return strtoull(value + (*value == '"'), NULL, 0);
}

static bool is(const char *at, const char *end, const char *name, const char *expected)
{
    const char *value = field(at, end, name);
    return value && !strncmp(value, expected, strlen(expected));
}

/* ---- The protocol. ---- */

static void on_event(struct machine *machine, const char *event, const char *end);

/* Sends a request and reads its answer. Whatever happened meanwhile reaches the device. The result is valid until the
 * next request. */
static const char *ask(struct machine *machine, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(machine->requests, format, arguments);
    va_end(arguments);
    fputc('\n', machine->requests);
    fflush(machine->requests);
    if (getline(&machine->line, &machine->capacity, machine->answers) < 0)
        fail("the simulation has ended", NULL);
    if (strstr(machine->line, "\"error\":"))
        fail("a request was refused", machine->line);
    const char *events = strstr(machine->line, "\"events\":");
    if (!events)
        return machine->line;
    /* What the device does about an event is a request of its own, which overwrites the line. */
    char *answer = machine->line;
    machine->line = NULL;
    machine->capacity = 0;
    for (const char *event = strchr(events, '{'); event; event = strchr(event, '{')) {
        const char *end = strchr(event, '}');
        on_event(machine, event, end);
        event = end;
        if (end[1] == ']')
            break;
    }
    free(machine->line);
    machine->line = answer;
    return answer;
}

static uint64_t ask_value(struct machine *machine, const char *request, uint32_t offset, unsigned bytes)
{
    const char *answer = ask(machine, "{\"op\": \"%s\", \"offset\": %" PRIu32 ", \"bytes\": %u}", request, offset, bytes);
    return number(answer, answer + strlen(answer), "value");
}

/* ---- The device. ---- */

static void relax(void *context)
{
    struct machine *machine = context;
    const char *answer = ask(machine, "{\"op\": \"step\", \"cycles\": %d}", CYCLES_PER_TURN);
    machine->cycle = number(answer, answer + strlen(answer), "cycle");
}

static void on_event(struct machine *machine, const char *event, const char *end)
{
    if (is(event, end, "event", "\"group_response\"")) {
        if (machine->waiting != (int)number(event, end, "index"))
            machine->violations++;
        machine->waiting = -1;
        machine->response = (int)number(event, end, "code");
    } else if (is(event, end, "event", "\"invalidation_request\"")) {
        uint64_t first = number(event, end, "first"), last = number(event, end, "last");
        bool all = is(event, end, "process_id", "null");
        uint64_t pasid = all ? 0 : number(event, end, "process_id");
        for (size_t i = 0; i < CACHED; i++) {
            struct translation *known = &machine->cache[i];
            if ((all || known->pasid == pasid) && known->first <= last && first <= known->last)
                known->valid = false;
        }
        ask(machine, "{\"op\": \"invalidation_completion\", \"rid\": %" PRIu32 ", \"itags\": [%" PRIu64 "]}",
            machine->device_id & 0xffff, number(event, end, "itag"));
    }
}

int machine_access(struct machine *machine, uint32_t pasid, uint64_t address, bool write, uint64_t *paddr)
{
    for (size_t i = 0; i < CACHED; i++) {
        const struct translation *known = &machine->cache[i];
        if (known->valid && known->pasid == pasid && known->first <= address && address <= known->last &&
            (known->write || !write)) {
            *paddr = known->paddr + (address - known->first);
            return 0;
        }
    }
    const char *answer = ask(machine,
                             "{\"op\": \"translate\", \"type\": \"translation_request\", \"device_id\": %" PRIu32
                             ", \"process_id\": %" PRIu32 ", \"iova\": \"0x%" PRIx64 "\", \"write\": %s}",
                             machine->device_id, pasid, address, write ? "true" : "false");
    const char *end = answer + strlen(answer);
    if (!is(answer, end, "status", "\"success\""))
        return 2;
    if (!is(answer, end, write ? "write" : "read", "true"))
        return 1;
    uint64_t size = (uint64_t)1 << number(answer, end, "page_shift");
    *paddr = number(answer, end, "spa");
    machine->cache[machine->next++ % CACHED] = (struct translation){
        .valid = true,
        .write = is(answer, end, "write", "true"),
        .pasid = pasid,
        .first = address & ~(size - 1),
        .last = address | (size - 1),
        .paddr = *paddr & ~(size - 1),
    };
    return 0;
}

void machine_page_request(struct machine *machine, uint32_t pasid, uint16_t index, uint64_t address, bool write)
{
    machine->waiting = index;
    machine->response = -1;
    ask(machine,
        "{\"op\": \"page_request\", \"device_id\": %" PRIu32 ", \"process_id\": %" PRIu32 ", \"address\": \"0x%" PRIx64
        "\", \"read\": true, \"write\": %s, \"last\": true, \"index\": %u}",
        machine->device_id, pasid, address, write ? "true" : "false", (unsigned)index);
}

/* Time passes between two looks: a message is on its way for some cycles. */
int machine_response(struct machine *machine)
{
    if (machine->response < 0)
        relax(machine);
    return machine->response;
}

/* ---- The IOMMU and memory, for the driver. ---- */

static uint32_t read32(void *context, uint32_t offset)
{
    return (uint32_t)ask_value(context, "read_register", offset, 4);
}

static uint64_t read64(void *context, uint32_t offset)
{
    return ask_value(context, "read_register", offset, 8);
}

static void write_register(struct machine *machine, uint32_t offset, uint64_t value, unsigned bytes)
{
    ask(machine, "{\"op\": \"write_register\", \"offset\": %" PRIu32 ", \"bytes\": %u, \"value\": \"0x%" PRIx64 "\"}",
        offset, bytes, value);
}

static void write32(void *context, uint32_t offset, uint32_t value)
{
    write_register(context, offset, value, 4);
}

static void write64(void *context, uint32_t offset, uint64_t value)
{
    write_register(context, offset, value, 8);
}

static uint64_t load64(void *context, uint64_t paddr)
{
    const char *answer = ask(context, "{\"op\": \"read_memory\", \"address\": \"0x%" PRIx64 "\", \"words\": 1}", paddr);
    const char *words = strchr(answer, '[');
    return words ? strtoull(words + strspn(words, "[ \""), NULL, 0) : 0;
}

static void store64(void *context, uint64_t paddr, uint64_t value)
{
    ask(context, "{\"op\": \"write_memory\", \"address\": \"0x%" PRIx64 "\", \"words\": [\"0x%" PRIx64 "\"]}", paddr, value);
}

static uint64_t alloc(void *context, size_t bytes, size_t align)
{
    struct machine *machine = context;
    for (size_t i = 0; i < machine->block_count; i++) {
        struct block block = machine->blocks[i];
        if (block.bytes == bytes && block.paddr % align == 0) {
            machine->blocks[i] = machine->blocks[--machine->block_count];
            return block.paddr;
        }
    }
    uint64_t paddr = (machine->top + align - 1) & ~((uint64_t)align - 1);
    machine->top = paddr + bytes;
    return paddr;
}

static void give_back(void *context, uint64_t paddr, size_t bytes)
{
    struct machine *machine = context;
    if (machine->block_count == BLOCKS)
        fail("more blocks of memory were given back than this machine can remember", NULL);
    machine->blocks[machine->block_count++] = (struct block){paddr, bytes};
}

/* Each access is over before the next is asked for. */
static void fence(void *context)
{
    (void)context;
}

static uint64_t now(void *context)
{
    return ((struct machine *)context)->cycle;
}

struct iommu_platform machine_platform(struct machine *machine)
{
    return (struct iommu_platform){
        .context = machine,
        .read32 = read32,
        .read64 = read64,
        .write32 = write32,
        .write64 = write64,
        .alloc = alloc,
        .free = give_back,
        .load64 = load64,
        .store64 = store64,
        .fence = fence,
        .now = now,
        .relax = relax,
    };
}

/* ---- Start and end. ---- */

static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value ? value : otherwise;
}

struct machine *machine_open(uint32_t device_id)
{
    struct machine *machine = calloc(1, sizeof *machine);
    int to[2], from[2];
    if (!machine || pipe(to) || pipe(from))
        fail("no memory or no pipes", NULL);
    machine->child = fork();
    if (machine->child < 0)
        fail("no process", NULL);
    if (machine->child == 0) {
        dup2(to[0], STDIN_FILENO);
        dup2(from[1], STDOUT_FILENO);
        close(to[0]), close(to[1]), close(from[0]), close(from[1]);
        const char *command = setting("PASIDON", "pasidon");
        execlp(command, command, "serve", "--stdio", "--design", setting("PASIDON_DESIGN", "default"), "--engine",
               setting("PASIDON_ENGINE", "rtl"), (char *)NULL);
        perror(command);
        _exit(127);
    }
    close(to[0]), close(from[1]);
    machine->requests = fdopen(to[1], "w");
    machine->answers = fdopen(from[0], "r");
    if (!machine->requests || !machine->answers)
        fail("no memory for streams", NULL);
    machine->device_id = device_id;
    machine->top = MEMORY;
    machine->waiting = machine->response = -1;
    return machine;
}

size_t machine_close(struct machine *machine)
{
    ask(machine, "{\"op\": \"quit\"}");
    fclose(machine->requests);
    fclose(machine->answers);
    int status = 0;
    waitpid(machine->child, &status, 0);
    size_t violations = machine->violations + (status != 0);
    free(machine->line);
    free(machine);
    return violations;
}
