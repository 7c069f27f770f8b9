/* NVRTC, and the parts of the driver that take PTX, on top of the stub driver.
 *
 * `cuLaunchKernel` writes what the probe's kernel would: memory of the GPU is that of the CPU.
 * STUB_PTX_ERROR: what cuModuleLoadData returns (222: PTX newer than the driver).
 * STUB_NVRTC_ERROR: what compiling returns, with a log (7: libnvrtc-builtins is missing).
 */
#ifdef AS_DRIVER
#include "../stub_driver/stub_driver.c"
#else
#include <stdlib.h>
#include <string.h>
#endif

static int number(const char *name) { const char *t = getenv(name); return t ? atoi(t) : 0; }

#ifdef AS_DRIVER
int cuModuleLoadData(void **module, const void *image) {
    *module = (void *)1;
    return strstr(image, ".version") ? number("STUB_PTX_ERROR") : 218;
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
    *function = (void *)2;
    return strcmp(name, "odd") ? 500 : 0;
}
int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **given, void **extra) {
    if (f != (void *)2 || gx * gy * gz * by * bz != 1 || shared || stream || extra) return 1;
    int *target = *(int **)given[0];
    for (unsigned i = 0; i < bx; i++) target[i] = 2 * i + 1;
    return 0;
}
int cuCtxSynchronize(void) { return 0; }
#else
static const char *TEXT = ".version 8.0\n.target sm_90\n", *LOG = "nvrtc: error: failed to open "
    "libnvrtc-builtins.so.13.0. Make sure that libnvrtc-builtins.so.13.0 is installed correctly.";
int nvrtcCreateProgram(void **p, const char *source, const char *name, int n, const char **headers,
                       const char **names) {
    *p = (void *)3;
    return source && strstr(source, "__global__") && !n && !headers && !names ? 0 : 4;
}
int nvrtcGetNumSupportedArchs(int *count) { *count = 3; return 0; }
int nvrtcGetSupportedArchs(int *numbers) {
    numbers[0] = 75, numbers[1] = 80, numbers[2] = 90;
    return 0;
}
int nvrtcCompileProgram(void *p, int count, const char **options) {
    if (count != 1 || strncmp(options[0], "--gpu-architecture=compute_", 27)) return 5;
    if (atoi(options[0] + 27) > 90) return 5;
    return number("STUB_NVRTC_ERROR");
}
int nvrtcGetPTXSize(void *p, size_t *size) { *size = strlen(TEXT) + 1; return 0; }
int nvrtcGetPTX(void *p, char *text) { strcpy(text, TEXT); return 0; }
int nvrtcGetProgramLogSize(void *p, size_t *size) { *size = strlen(LOG) + 1; return 0; }
int nvrtcGetProgramLog(void *p, char *text) { strcpy(text, LOG); return 0; }
int nvrtcDestroyProgram(void **p) { *p = 0; return 0; }
const char *nvrtcGetErrorString(int code) {
    return code == 7 ? "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE" : "NVRTC_ERROR";
}
#endif
