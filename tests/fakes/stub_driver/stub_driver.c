/* A stand-in for NVIDIA's libcuda.so.1 and libnvidia-ml.so.1, steered by environment variables.
 *
 *   STUB_DRIVER   driver version              "535.104.05"
 *   STUB_CUDA     cuDriverGetVersion          "12020"
 *   STUB_GPUS     name:capability:bytes; ...  "NVIDIA H200:9.0:150754820096"
 *   STUB_CUINIT   what cuInit returns         "802"       (100 where no device is left)
 *   STUB_CUINIT_TIMES  how many processes it fails in, counted in the file STUB_COUNTER
 *   STUB_NVML     what nvmlInit_v2 returns    "18"
 *   STUB_HANG     seconds cuInit takes        "30"
 *   STUB_NVML_HANG  seconds nvmlInit_v2 takes
 *   STUB_HIDDEN   how many GPUs, from the last, NVML lists and CUDA does not
 *   STUB_CRASH    cuInit ends the process by SIGABRT, where set
 *   STUB_ERRORS   entry point=code, ...       "nvmlDeviceGetMemoryInfo=999"
 *   STUB_HANGS    entry point=seconds, ...    "nvmlDeviceGetName=30"
 *
 * Of each GPU, entries parted by `;` in the order of STUB_GPUS; an empty entry, or none, is not
 * told (NVML_ERROR_NOT_SUPPORTED) or what a healthy GPU without the feature has:
 *
 *   STUB_UUID       "GPU-…"                   otherwise made up from the number
 *   STUB_BUS        "0000:17:00.0"            otherwise made up from the number
 *   STUB_FREE       bytes free                otherwise all
 *   STUB_MODE       compute mode              "3", otherwise 0
 *   STUB_ECC        "1" or "0"
 *   STUB_UNCORRECTED  volatile count
 *   STUB_REMAP      "pending failed"          "1 0"
 *   STUB_THROTTLE   bits of reasons           "72", otherwise 1: idle
 *   STUB_PROCESSES  pid:bytes:name, ...       "4242:1073741824:python3"; name may be empty
 *   STUB_USAGE      pid:percent, ...          "4242:35"; "-" for nobody; otherwise not told
 *   STUB_BUSY       percent of utilisation    otherwise not told
 *   STUB_RESERVED   bytes the driver keeps    otherwise not told, as by an older driver
 *   STUB_LINKS      "active total"            "16 18"
 *   STUB_FABRIC     "state status"            "2 0"
 *   STUB_VIRTUAL    virtualization mode       "2" for a vGPU, otherwise 0
 *   STUB_LICENSE    "1" licensed, "0" not
 *   STUB_SLICES     uuid:name:bytes:free, ... MIG mode is on where the entry is set; "-" for none
 *   STUB_LOST       NVML's code for this GPU  "15"
 *   STUB_CONTEXT    what making a context returns, or "hang"
 *
 * CUDA_VISIBLE_DEVICES is honoured as the driver does: ordinals, UUIDs and beginnings of them; the
 * list ends at the first entry that is no GPU, and an entry that comes twice hides all. CUDA puts
 * the fastest GPU first unless CUDA_DEVICE_ORDER=PCI_BUS_ID; NVML looks at neither variable.
 * With MIG, CUDA lists GPUs that are whole, else the first slice, or the one that was named.
 * Both libraries are built from this file; they differ in their soname only. An entry point is
 * left out by building with -Dname=other.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define MOST 16
#define PARTS 8
#define NOT_SUPPORTED 3

struct part { char uuid[64], name[96]; unsigned long long bytes, free; };

struct gpu {
    char name[96], uuid[64], bus[32];
    int major, minor, number, lost, is_cut;
    unsigned long long bytes;
    struct part parts[PARTS];
    int part_count;
};

struct device { struct gpu *gpu; struct part *part; };

static struct gpu gpus[MOST];
static int gpu_count = -1;
static struct device visible[MOST];
static int visible_count;
static int cuda_ready, nvml_ready;

static const char *setting(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value ? value : otherwise;
}

/* The entry of this GPU in a list parted by `;`, or NULL. */
static char *entry(const char *variable, int number, char *buffer, size_t size) {
    const char *text = getenv(variable);
    for (int place = 0; text != NULL && place < number; place++) {
        text = strchr(text, ';');
        if (text) text++;
    }
    if (text == NULL) return NULL;
    snprintf(buffer, size, "%.*s", (int)strcspn(text, ";"), text);
    return *buffer ? buffer : NULL;
}

static int told(const char *variable, int number, unsigned long long *value) {
    char text[64];
    if (entry(variable, number, text, sizeof text) == NULL) return 0;
    *value = strtoull(text, NULL, 10);
    return 1;
}

static int told_two(const char *variable, int number, int *one, int *other) {
    char text[64];
    if (entry(variable, number, text, sizeof text) == NULL) return 0;
    return sscanf(text, "%d %d", one, other) == 2;
}

/* What STUB_ERRORS or STUB_HANGS says of an entry point; 0: nothing. */
static int said_of(const char *variable, const char *function) {
    const char *text = getenv(variable);
    size_t length = strlen(function);
    while (text != NULL && *text) {
        if (strncmp(text, function, length) == 0 && text[length] == '=') return atoi(text + length + 1);
        text = strchr(text, ',');
        if (text) text++;
    }
    return 0;
}

#define ENTER \
    do { \
        sleep((unsigned)said_of("STUB_HANGS", __func__)); \
        int code_ = said_of("STUB_ERRORS", __func__); \
        if (code_) return code_; \
    } while (0)

static void read_parts(struct gpu *gpu) {
    char text[2048];
    if (entry("STUB_SLICES", gpu->number, text, sizeof text) == NULL) return;
    gpu->is_cut = 1;
    char *rest = text, *item;
    while (gpu->part_count < PARTS && (item = strsep(&rest, ",")) != NULL) {
        struct part *part = &gpu->parts[gpu->part_count];
        if (sscanf(item, "%63[^:]:%95[^:]:%llu:%llu", part->uuid, part->name, &part->bytes, &part->free) == 4)
            gpu->part_count++;
    }
}

static void read_gpus(void) {
    if (gpu_count >= 0) return;
    gpu_count = 0;
    char *text = strdup(setting("STUB_GPUS", ""));
    char *rest = text, *item;
    while (gpu_count < MOST && (item = strsep(&rest, ";")) != NULL) {
        struct gpu *gpu = &gpus[gpu_count];
        if (sscanf(item, "%95[^:]:%d.%d:%llu", gpu->name, &gpu->major, &gpu->minor, &gpu->bytes) != 4)
            continue;
        unsigned long long lost = 0;
        gpu->number = gpu_count++;
        if (entry("STUB_UUID", gpu->number, gpu->uuid, sizeof gpu->uuid) == NULL)
            snprintf(gpu->uuid, sizeof gpu->uuid, "GPU-%08x-57ab-4d21-9e0c-%012x",
                     0xc0de0000u + (unsigned)gpu->number, 0x5eed + gpu->number);
        if (entry("STUB_BUS", gpu->number, gpu->bus, sizeof gpu->bus) == NULL)
            snprintf(gpu->bus, sizeof gpu->bus, "0000:%02x:00.0", (0x17 + 0x12 * gpu->number) & 0xff);
        if (told("STUB_LOST", gpu->number, &lost)) gpu->lost = (int)lost;
        read_parts(gpu);
    }
    free(text);
}

/* --- the list of devices, as libcuda makes it --------------------------------------------- */

static struct gpu *ordered[MOST];

static int speed(const struct gpu *gpu) { return gpu->major * 10 + gpu->minor; }

static void order_gpus(void) {
    int by_slot = strcmp(setting("CUDA_DEVICE_ORDER", ""), "PCI_BUS_ID") == 0;
    for (int index = 0; index < gpu_count; index++) ordered[index] = &gpus[index];
    for (int index = 1; !by_slot && index < gpu_count; index++)
        for (int at = index; at > 0 && speed(ordered[at]) > speed(ordered[at - 1]); at--) {
            struct gpu *swap = ordered[at];
            ordered[at] = ordered[at - 1];
            ordered[at - 1] = swap;
        }
}

static void list_all(struct device *list, int *count) {
    *count = 0;
    for (int index = 0; index < gpu_count; index++)
        if (!ordered[index]->is_cut && !ordered[index]->lost)
            list[(*count)++] = (struct device){ordered[index], NULL};
    for (int index = 0; index < gpu_count && *count == 0; index++)
        if (ordered[index]->part_count)
            list[(*count)++] = (struct device){ordered[index], &ordered[index]->parts[0]};
}

static int find_named(const char *name, struct device *found) {
    int matches = 0;
    for (int index = 0; index < gpu_count; index++) {
        struct gpu *gpu = &gpus[index];
        if (strncasecmp(gpu->uuid, name, strlen(name)) == 0 && !gpu->is_cut && ++matches)
            *found = (struct device){gpu, NULL};
        for (int part = 0; part < gpu->part_count; part++)
            if (strncasecmp(gpu->parts[part].uuid, name, strlen(name)) == 0 && ++matches)
                *found = (struct device){gpu, &gpu->parts[part]};
    }
    return matches == 1;
}

static int find_entry(const char *item, const struct device *all, int count, struct device *found) {
    while (*item == ' ') item++;
    if (strncmp(item, "GPU-", 4) == 0 || strncmp(item, "MIG-", 4) == 0) return find_named(item, found);
    char *end;
    long index = strtol(item, &end, 10);
    if (end == item || index < 0 || index >= count) return 0;
    *found = all[index];
    return 1;
}

static void read_visible(void) {
    struct device all[MOST], found = {NULL, NULL};
    int count;
    order_gpus();
    list_all(all, &count);
    count -= atoi(setting("STUB_HIDDEN", "0"));
    const char *wanted = getenv("CUDA_VISIBLE_DEVICES");
    if (wanted == NULL) {
        memcpy(visible, all, sizeof visible);
        visible_count = count;
        return;
    }
    char *text = strdup(wanted), *rest = text, *item;
    visible_count = 0;
    while (visible_count < MOST && (item = strsep(&rest, ",")) != NULL) {
        if (!find_entry(item, all, count, &found)) break;
        for (int index = 0; index < visible_count; index++)
            if (visible[index].gpu == found.gpu && visible[index].part == found.part) {
                visible_count = 0;
                free(text);
                return;
            }
        visible[visible_count++] = found;
    }
    free(text);
}

/* --- the CUDA driver API ------------------------------------------------------------------ */

/* One byte a call is added to the counter, so that processes can tell how many came before. */
static int is_over(void) {
    const char *times = getenv("STUB_CUINIT_TIMES"), *counter = getenv("STUB_COUNTER");
    if (times == NULL || counter == NULL) return 0;
    FILE *file = fopen(counter, "a");
    if (file == NULL) return 0;
    fputc('.', file);
    long calls = ftell(file);
    fclose(file);
    return calls > atol(times);
}

int cuInit(unsigned int flags) {
    (void)flags;
    ENTER;
    sleep((unsigned)atoi(setting("STUB_HANG", "0")));
    if (getenv("STUB_CRASH")) abort();
    int code = atoi(setting("STUB_CUINIT", "0"));
    if (code && !is_over()) return code;
    read_gpus();
    read_visible();
    if (visible_count == 0) return 100;
    cuda_ready = 1;
    return 0;
}

int cuDriverGetVersion(int *version) {
    ENTER;
    *version = atoi(setting("STUB_CUDA", "12020"));
    return 0;
}

int cuDeviceGetCount(int *count) {
    ENTER;
    if (!cuda_ready) return 3;
    *count = visible_count;
    return 0;
}

int cuDeviceGet(int *device, int ordinal) {
    ENTER;
    if (!cuda_ready) return 3;
    if (ordinal < 0 || ordinal >= visible_count) return 101;
    *device = ordinal;
    return 0;
}

int cuDeviceGetName(char *name, int length, int device) {
    ENTER;
    struct device *it = &visible[device];
    snprintf(name, (size_t)length, "%s", it->part ? it->part->name : it->gpu->name);
    return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    ENTER;
    struct gpu *gpu = visible[device].gpu;
    if (attribute == 75) *value = gpu->major;
    else if (attribute == 76) *value = gpu->minor;
    else return 1;
    return 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    ENTER;
    struct device *it = &visible[device];
    *bytes = (size_t)(it->part ? it->part->bytes : it->gpu->bytes);
    return 0;
}

static int write_uuid(unsigned char *raw, const char *text) {
    int nibbles = 0;
    memset(raw, 0, 16);
    for (const char *at = strchr(text, '-'); at && *at && nibbles < 32; at++) {
        unsigned digit;
        if (*at == '-' || sscanf((char[]){*at, 0}, "%x", &digit) != 1) continue;
        raw[nibbles / 2] |= (unsigned char)(digit << (nibbles % 2 ? 0 : 4));
        nibbles++;
    }
    return 0;
}

int cuDeviceGetUuid(unsigned char *raw, int device) {
    ENTER;
    return write_uuid(raw, visible[device].gpu->uuid);
}

int cuDeviceGetUuid_v2(unsigned char *raw, int device) {
    ENTER;
    struct device *it = &visible[device];
    return write_uuid(raw, it->part ? it->part->uuid : it->gpu->uuid);
}

int cuDeviceGetPCIBusId(char *text, int length, int device) {
    ENTER;
    snprintf(text, (size_t)length, "%s", visible[device].gpu->bus);
    return 0;
}

static int make_context(void **context, int device) {
    char text[16];
    unsigned long long mode = 0;
    struct gpu *gpu = visible[device].gpu;
    if (entry("STUB_CONTEXT", gpu->number, text, sizeof text) != NULL) {
        if (strcmp(text, "hang") == 0) sleep(600);
        else if (atoi(text)) return atoi(text);
    }
    if (told("STUB_MODE", gpu->number, &mode)) {
        char others[2048];
        int held = entry("STUB_PROCESSES", gpu->number, others, sizeof others) != NULL;
        if (mode == 2 || (mode != 0 && held)) return 46;
    }
    *context = &visible[device];
    return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
    ENTER;
    return make_context(context, device);
}

int cuCtxCreate_v2(void **context, unsigned int flags, int device) {
    ENTER;
    (void)flags;
    return make_context(context, device);
}

int cuDevicePrimaryCtxRelease_v2(int device) {
    ENTER;
    (void)device;
    return 0;
}

int cuGetErrorName(int code, const char **name) {
    switch (code) {
    case 0: *name = "CUDA_SUCCESS"; return 0;
    case 2: *name = "CUDA_ERROR_OUT_OF_MEMORY"; return 0;
    case 3: *name = "CUDA_ERROR_NOT_INITIALIZED"; return 0;
    case 34: *name = "CUDA_ERROR_STUB_LIBRARY"; return 0;
    case 46: *name = "CUDA_ERROR_DEVICE_UNAVAILABLE"; return 0;
    case 100: *name = "CUDA_ERROR_NO_DEVICE"; return 0;
    case 101: *name = "CUDA_ERROR_INVALID_DEVICE"; return 0;
    case 214: *name = "CUDA_ERROR_ECC_UNCORRECTABLE"; return 0;
    case 802: *name = "CUDA_ERROR_SYSTEM_NOT_READY"; return 0;
    case 803: *name = "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"; return 0;
    case 804: *name = "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE"; return 0;
    case 805: *name = "CUDA_ERROR_MPS_CONNECTION_FAILED"; return 0;
    case 806: *name = "CUDA_ERROR_MPS_RPC_FAILURE"; return 0;
    case 807: *name = "CUDA_ERROR_MPS_SERVER_NOT_READY"; return 0;
    case 999: *name = "CUDA_ERROR_UNKNOWN"; return 0;
    default: *name = NULL; return 1;
    }
}

/* --- NVML --------------------------------------------------------------------------------- */

#define GPU_OF(device) ((struct gpu *)(device))
#define ALIVE(device) \
    do { \
        ENTER; \
        if (!nvml_ready) return 1; \
        if ((device) == NULL) return 2; \
        if (!is_part(device) && GPU_OF(device)->lost) return GPU_OF(device)->lost; \
    } while (0)

static int is_part(void *device) {
    for (int index = 0; index < gpu_count; index++) {
        char *from = (char *)gpus[index].parts;
        if ((char *)device >= from && (char *)device < from + sizeof gpus[index].parts) return 1;
    }
    return 0;
}

static int start_nvml(void) {
    sleep((unsigned)atoi(setting("STUB_NVML_HANG", "0")));
    int code = atoi(setting("STUB_NVML", "0"));
    if (code) return code;
    read_gpus();
    nvml_ready = 1;
    return 0;
}

int nvmlInit_v2(void) {
    ENTER;
    return start_nvml();
}

int nvmlInitWithFlags(unsigned int flags) {
    ENTER;
    (void)flags;
    return start_nvml();
}

int nvmlShutdown(void) {
    nvml_ready = 0;
    return 0;
}

const char *nvmlErrorString(int code) {
    switch (code) {
    case 0: return "Success";
    case 1: return "Uninitialized";
    case 3: return "Not Supported";
    case 4: return "Insufficient Permissions";
    case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    case 16: return "GPU requires reset";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    ENTER;
    if (!nvml_ready) return 1;
    snprintf(version, length, "%s", setting("STUB_DRIVER", "535.104.05"));
    return 0;
}

int nvmlSystemGetNVMLVersion(char *version, unsigned int length) {
    ENTER;
    snprintf(version, length, "12.%s", setting("STUB_DRIVER", "535.104.05"));
    return 0;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    ENTER;
    *version = atoi(setting("STUB_CUDA", "12020"));
    return 0;
}

int nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int length) {
    ENTER;
    char text[2048];
    for (int index = 0; index < gpu_count; index++) {
        if (entry("STUB_PROCESSES", index, text, sizeof text) == NULL) continue;
        char *rest = text, *item;
        while ((item = strsep(&rest, ",")) != NULL) {
            char *end, *colon;
            if (strtoul(item, &end, 10) != pid || (colon = strrchr(item, ':')) == end) continue;
            if (colon == NULL || colon[1] == '\0') return 6;
            snprintf(name, length, "%s", colon + 1);
            return 0;
        }
    }
    return 6;
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
    ENTER;
    if (!nvml_ready) return 1;
    *count = (unsigned int)gpu_count;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    ENTER;
    if (!nvml_ready) return 1;
    if (index >= (unsigned int)gpu_count) return 2;
    if (gpus[index].lost) return gpus[index].lost;
    *device = &gpus[index];
    return 0;
}

int nvmlDeviceGetName(void *device, char *name, unsigned int length) {
    ALIVE(device);
    snprintf(name, length, "%s", is_part(device) ? ((struct part *)device)->name : GPU_OF(device)->name);
    return 0;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length) {
    ALIVE(device);
    snprintf(uuid, length, "%s", is_part(device) ? ((struct part *)device)->uuid : GPU_OF(device)->uuid);
    return 0;
}

struct pci { char legacy[16]; unsigned int domain, bus, slot, id, sub_id; char text[32]; };

int nvmlDeviceGetPciInfo_v3(void *device, struct pci *pci) {
    ALIVE(device);
    struct gpu *gpu = GPU_OF(device);
    memset(pci, 0, sizeof *pci);
    sscanf(gpu->bus, "%x:%x:%x", &pci->domain, &pci->bus, &pci->slot);
    snprintf(pci->legacy, sizeof pci->legacy, "%04X:%02X:%02X.0", pci->domain & 0xffff, pci->bus & 0xff, pci->slot & 0xff);
    snprintf(pci->text, sizeof pci->text, "%08X:%02X:%02X.0", pci->domain, pci->bus, pci->slot);
    pci->id = 0x233510deu;
    return 0;
}

int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    ALIVE(device);
    *major = GPU_OF(device)->major;
    *minor = GPU_OF(device)->minor;
    return 0;
}

struct memory { unsigned long long total, free, used; };

int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory) {
    ALIVE(device);
    if (is_part(device)) {
        struct part *part = device;
        *memory = (struct memory){part->bytes, part->free, part->bytes - part->free};
        return 0;
    }
    struct gpu *gpu = GPU_OF(device);
    unsigned long long left = gpu->bytes;
    told("STUB_FREE", gpu->number, &left);
    *memory = (struct memory){gpu->bytes, left, gpu->bytes - left};
    return 0;
}

int nvmlDeviceGetComputeMode(void *device, unsigned int *mode) {
    ALIVE(device);
    unsigned long long value = 0;
    told("STUB_MODE", GPU_OF(device)->number, &value);
    *mode = (unsigned int)value;
    return 0;
}

int nvmlDeviceGetVirtualizationMode(void *device, unsigned int *mode) {
    ALIVE(device);
    unsigned long long value = 0;
    told("STUB_VIRTUAL", GPU_OF(device)->number, &value);
    *mode = (unsigned int)value;
    return 0;
}

int nvmlDeviceGetEccMode(void *device, unsigned int *now, unsigned int *later) {
    ALIVE(device);
    unsigned long long value;
    if (!told("STUB_ECC", GPU_OF(device)->number, &value)) return NOT_SUPPORTED;
    *now = *later = (unsigned int)value;
    return 0;
}

int nvmlDeviceGetTotalEccErrors(void *device, unsigned int kind, unsigned int counter, unsigned long long *count) {
    ALIVE(device);
    if (kind != 1 || counter != 0) return 2;
    return told("STUB_UNCORRECTED", GPU_OF(device)->number, count) ? 0 : NOT_SUPPORTED;
}

int nvmlDeviceGetRemappedRows(void *device, unsigned int *done, unsigned int *bad, unsigned int *pending, unsigned int *failed) {
    ALIVE(device);
    int one, other;
    if (!told_two("STUB_REMAP", GPU_OF(device)->number, &one, &other)) return NOT_SUPPORTED;
    *done = 0;
    *bad = (unsigned int)(one || other);
    *pending = (unsigned int)one;
    *failed = (unsigned int)other;
    return 0;
}

int nvmlDeviceGetRetiredPagesPendingStatus(void *device, unsigned int *pending) {
    ALIVE(device);
    (void)pending;
    return NOT_SUPPORTED;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons) {
    ALIVE(device);
    *reasons = 1;
    told("STUB_THROTTLE", GPU_OF(device)->number, reasons);
    return 0;
}

struct process { unsigned int pid; unsigned long long used; unsigned int gpu_instance, instance; };

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, struct process *found) {
    ALIVE(device);
    char text[2048];
    unsigned int room = *count, need = 0;
    if (entry("STUB_PROCESSES", GPU_OF(device)->number, text, sizeof text) != NULL) {
        char *rest = text, *item, *end;
        while ((item = strsep(&rest, ",")) != NULL) {
            unsigned long pid = strtoul(item, &end, 10);
            unsigned long long used = *end == ':' ? strtoull(end + 1, NULL, 10) : 0;
            if (need < room && found)
                found[need] = (struct process){(unsigned int)pid, used ? used : ~0ull, ~0u, ~0u};
            need++;
        }
    }
    *count = need;
    return need > room ? 7 : 0;
}

struct memory_v2 { unsigned int version; unsigned long long total, reserved, free, used; };

int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory_v2 *memory) {
    ALIVE(device);
    unsigned long long reserved;
    struct gpu *gpu = GPU_OF(device);
    if (memory->version != (sizeof *memory | 2u << 24)) return 25;
    if (!told("STUB_RESERVED", gpu->number, &reserved)) return 13;
    unsigned long long left = gpu->bytes - reserved;
    told("STUB_FREE", gpu->number, &left);
    memory->total = gpu->bytes;
    memory->reserved = reserved;
    memory->free = left;
    memory->used = gpu->bytes - left - reserved;
    return 0;
}

struct rates { unsigned int gpu, memory; };

int nvmlDeviceGetUtilizationRates(void *device, struct rates *rates) {
    ALIVE(device);
    unsigned long long value;
    if (GPU_OF(device)->is_cut || !told("STUB_BUSY", GPU_OF(device)->number, &value)) return NOT_SUPPORTED;
    *rates = (struct rates){(unsigned int)value, 0};
    return 0;
}

struct sample { unsigned int pid; unsigned long long when; unsigned int compute, memory, encoder, decoder; };

int nvmlDeviceGetProcessUtilization(void *device, struct sample *found, unsigned int *count, unsigned long long since) {
    ALIVE(device);
    (void)since;
    char text[2048];
    unsigned int room = *count, need = 0;
    if (entry("STUB_USAGE", GPU_OF(device)->number, text, sizeof text) == NULL) return NOT_SUPPORTED;
    char *rest = text, *item;
    while ((item = strsep(&rest, ",")) != NULL) {
        unsigned int pid, part;
        if (sscanf(item, "%u:%u", &pid, &part) != 2) continue;
        if (found && need < room) found[need] = (struct sample){pid, 1, part, 0, 0, 0};
        need++;
    }
    if (need == 0) return 6;
    *count = need;
    return found == NULL || need > room ? 7 : 0;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned int *count, struct process *found) {
    ALIVE(device);
    (void)found;
    *count = 0;
    return 0;
}

int nvmlDeviceGetNvLinkState(void *device, unsigned int link, unsigned int *is_active) {
    ALIVE(device);
    int active, total;
    if (!told_two("STUB_LINKS", GPU_OF(device)->number, &active, &total)) return NOT_SUPPORTED;
    if (link >= (unsigned int)total) return 2;
    *is_active = link < (unsigned int)active;
    return 0;
}

struct fabric { unsigned char cluster[16]; int status; unsigned int clique; unsigned char state; };

int nvmlDeviceGetGpuFabricInfo(void *device, struct fabric *fabric) {
    ALIVE(device);
    int state, status;
    if (!told_two("STUB_FABRIC", GPU_OF(device)->number, &state, &status)) return NOT_SUPPORTED;
    memset(fabric, 0, sizeof *fabric);
    fabric->state = (unsigned char)state;
    fabric->status = status;
    return 0;
}

int nvmlDeviceGetMigMode(void *device, unsigned int *now, unsigned int *later) {
    ALIVE(device);
    if (GPU_OF(device)->major < 8) return NOT_SUPPORTED;
    *now = *later = (unsigned int)GPU_OF(device)->is_cut;
    return 0;
}

int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned int *count) {
    ALIVE(device);
    *count = GPU_OF(device)->major < 8 ? 0 : PARTS;
    return 0;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned int index, void **found) {
    ALIVE(device);
    if (index >= (unsigned int)GPU_OF(device)->part_count) return 6;
    *found = &GPU_OF(device)->parts[index];
    return 0;
}

struct expiry { uint32_t year; uint16_t month, day, hour, min, sec; uint8_t status; };
struct feature { int code; unsigned int state; char info[128], product[128]; unsigned int enabled; struct expiry expiry; };
struct features { int supported; unsigned int count; struct feature list[3]; };

int nvmlDeviceGetGridLicensableFeatures_v4(void *device, struct features *features) {
    ALIVE(device);
    unsigned long long value;
    memset(features, 0, sizeof *features);
    if (!told("STUB_LICENSE", GPU_OF(device)->number, &value)) return NOT_SUPPORTED;
    features->supported = 1;
    features->count = 1;
    features->list[0].code = 4;
    features->list[0].state = (unsigned int)value;
    features->list[0].enabled = 1;
    snprintf(features->list[0].product, sizeof features->list[0].product, "NVIDIA Virtual Compute Server");
    return 0;
}
