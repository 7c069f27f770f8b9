/* A stand-in for NVIDIA's libcuda.so.1 and libnvidia-ml.so.1, steered by environment variables.
 *
 *   STUB_DRIVER   driver version              "535.104.05"
 *   STUB_CUDA     cuDriverGetVersion          "12020"
 *   STUB_GPUS     name:capability:bytes; ...  "NVIDIA H200:9.0:150754820096"
 *   STUB_CUINIT   what cuInit returns         "802"       (100 where no device is left)
 *   STUB_NVML     what nvmlInit_v2 returns    "18"
 *   STUB_HANG     seconds cuInit takes        "30"
 *   STUB_NVML_HANG  seconds nvmlInit_v2 takes
 *   STUB_CRASH    cuInit ends the process by SIGABRT, where set
 *
 * CUDA_VISIBLE_DEVICES is honoured as the real driver does for ordinals: an empty value hides
 * every device, and the first entry that does not exist ends the list. NVML does not look at it.
 * Both libraries are built from this file; they differ in their soname only.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 16

struct gpu {
    char name[96];
    int major, minor;
    unsigned long long bytes;
};

static struct gpu gpus[MOST];
static int gpu_count = -1;
static int visible[MOST];
static int visible_count;
static int cuda_ready, nvml_ready;

static const char *setting(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value ? value : otherwise;
}

static void read_gpus(void) {
    if (gpu_count >= 0) return;
    gpu_count = 0;
    char *text = strdup(setting("STUB_GPUS", ""));
    char *rest = text, *entry;
    while (gpu_count < MOST && (entry = strsep(&rest, ";")) != NULL) {
        struct gpu *gpu = &gpus[gpu_count];
        if (sscanf(entry, "%95[^:]:%d.%d:%llu", gpu->name, &gpu->major, &gpu->minor, &gpu->bytes) == 4)
            gpu_count++;
    }
    free(text);
}

static void read_visible(void) {
    const char *wanted = getenv("CUDA_VISIBLE_DEVICES");
    visible_count = 0;
    if (wanted == NULL) {
        for (int index = 0; index < gpu_count; index++) visible[visible_count++] = index;
        return;
    }
    char *text = strdup(wanted), *rest = text, *entry;
    while (visible_count < MOST && (entry = strsep(&rest, ",")) != NULL) {
        char *end;
        long index = strtol(entry, &end, 10);
        if (end == entry || *end != '\0' || index < 0 || index >= gpu_count) break;
        visible[visible_count++] = (int)index;
    }
    free(text);
}

/* --- the CUDA driver API ------------------------------------------------------------------ */

int cuInit(unsigned int flags) {
    (void)flags;
    sleep((unsigned)atoi(setting("STUB_HANG", "0")));
    if (getenv("STUB_CRASH")) abort();
    int code = atoi(setting("STUB_CUINIT", "0"));
    if (code) return code;
    read_gpus();
    read_visible();
    if (visible_count == 0) return 100;
    cuda_ready = 1;
    return 0;
}

int cuDriverGetVersion(int *version) {
    *version = atoi(setting("STUB_CUDA", "12020"));
    return 0;
}

int cuDeviceGetCount(int *count) {
    if (!cuda_ready) return 3;
    *count = visible_count;
    return 0;
}

int cuDeviceGet(int *device, int ordinal) {
    if (!cuda_ready) return 3;
    if (ordinal < 0 || ordinal >= visible_count) return 101;
    *device = ordinal;
    return 0;
}

int cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, (size_t)length, "%s", gpus[visible[device]].name);
    return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    struct gpu *gpu = &gpus[visible[device]];
    if (attribute == 75) *value = gpu->major;
    else if (attribute == 76) *value = gpu->minor;
    else return 1;
    return 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    *bytes = (size_t)gpus[visible[device]].bytes;
    return 0;
}

int cuGetErrorName(int code, const char **name) {
    switch (code) {
    case 0: *name = "CUDA_SUCCESS"; return 0;
    case 3: *name = "CUDA_ERROR_NOT_INITIALIZED"; return 0;
    case 100: *name = "CUDA_ERROR_NO_DEVICE"; return 0;
    case 101: *name = "CUDA_ERROR_INVALID_DEVICE"; return 0;
    case 802: *name = "CUDA_ERROR_SYSTEM_NOT_READY"; return 0;
    case 803: *name = "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"; return 0;
    case 804: *name = "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE"; return 0;
    case 999: *name = "CUDA_ERROR_UNKNOWN"; return 0;
    default: *name = NULL; return 1;
    }
}

/* --- NVML --------------------------------------------------------------------------------- */

int nvmlInit_v2(void) {
    sleep((unsigned)atoi(setting("STUB_NVML_HANG", "0")));
    int code = atoi(setting("STUB_NVML", "0"));
    if (code) return code;
    read_gpus();
    nvml_ready = 1;
    return 0;
}

int nvmlShutdown(void) {
    nvml_ready = 0;
    return 0;
}

int nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    if (!nvml_ready) return 1;
    snprintf(version, length, "%s", setting("STUB_DRIVER", "535.104.05"));
    return 0;
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    *version = atoi(setting("STUB_CUDA", "12020"));
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
    if (!nvml_ready) return 1;
    *count = (unsigned int)gpu_count;
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    if (!nvml_ready) return 1;
    if (index >= (unsigned int)gpu_count) return 2;
    *device = &gpus[index];
    return 0;
}

int nvmlDeviceGetName(void *device, char *name, unsigned int length) {
    snprintf(name, length, "%s", ((struct gpu *)device)->name);
    return 0;
}

int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    *major = ((struct gpu *)device)->major;
    *minor = ((struct gpu *)device)->minor;
    return 0;
}

struct memory { unsigned long long total, free, used; };

int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory) {
    memory->total = ((struct gpu *)device)->bytes;
    memory->free = memory->total;
    memory->used = 0;
    return 0;
}
