/* Drivers and libraries that are opened at run time, asked for their versions. See detect.h.
 *
 * Each is opened by its run-time name and closed again; the few functions that are called are
 * declared here by their public signatures. */
#include <dlfcn.h>
#include <stdio.h>

#include "machine/detect.h"

/* The first of `names` (ended by NULL) that opens; the loader's words when none does. */
static void *open_first(const char *const *names, tn_host_part *part) {
    for (; *names; names++) {
        void *handle = dlopen(*names, RTLD_LAZY | RTLD_LOCAL);
        if (!handle) continue;
        part->found = true;
        snprintf(part->detail, sizeof part->detail, "%s", *names);
        return handle;
    }
    snprintf(part->detail, sizeof part->detail, "not found");
    return NULL;
}

/* Function pointers cannot be cast from void *; their bytes can. */
static bool find(void *handle, const char *name, void *function) {
    void *address = handle ? dlsym(handle, name) : NULL;
    if (address) memcpy(function, &address, sizeof address);
    return address != NULL;
}

static void close_handle(void *handle) {
    if (handle) dlclose(handle);
}

/* ---- GPUs ----------------------------------------------------------------------------------- */

static void cuda_devices(void *handle, tn_host_part *part) {
    int (*init)(unsigned), (*count)(int *), (*get)(int *, int), (*name)(char *, int, int);
    int (*memory)(size_t *, int), (*version)(int *);
    int devices = 0, driver = 0;
    if (!find(handle, "cuInit", &init) || !find(handle, "cuDeviceGetCount", &count) ||
        !find(handle, "cuDeviceGet", &get) || !find(handle, "cuDeviceGetName", &name) ||
        !find(handle, "cuDeviceTotalMem_v2", &memory) ||
        !find(handle, "cuDriverGetVersion", &version))
        return;
    part->found = init(0) == 0 && count(&devices) == 0 && devices > 0;
    if (!part->found) {
        snprintf(part->detail, sizeof part->detail, "driver without a device");
        return;
    }
    version(&driver);
    int used = snprintf(part->detail, sizeof part->detail, "CUDA %d.%d:", driver / 1000,
                        driver % 1000 / 10);
    for (int i = 0; i < devices && used < (int)sizeof part->detail; i++) {
        int device = 0;
        char text[96] = "?";
        size_t bytes = 0;
        if (get(&device, i) == 0) {
            name(text, sizeof text, device);
            memory(&bytes, device);
        }
        used += snprintf(part->detail + used, sizeof part->detail - (size_t)used, "%s %s (%zu MiB)",
                         i ? "," : "", text, bytes >> 20);
    }
}

static void find_cuda(tn_host_part *part) {
    static const char *const names[] = {"libcuda.so.1", NULL};
    void *handle = open_first(names, part);
    if (handle) cuda_devices(handle, part);
    close_handle(handle);
}

static void find_nvrtc(tn_host_part *part) {
    static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2",
                                        "libnvrtc.so", NULL};
    int (*version)(int *, int *), major, minor;
    void *handle = open_first(names, part);
    if (find(handle, "nvrtcVersion", &version) && version(&major, &minor) == 0)
        snprintf(part->detail, sizeof part->detail, "version %d.%d", major, minor);
    close_handle(handle);
}

static void find_cublaslt(tn_host_part *part) {
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12",
                                        "libcublasLt.so.11", "libcublasLt.so", NULL};
    size_t (*version)(void);
    void *handle = open_first(names, part);
    if (find(handle, "cublasLtGetVersion", &version))
        snprintf(part->detail, sizeof part->detail, "version %zu", version());
    close_handle(handle);
}

static void find_cudnn(tn_host_part *part) {
    static const char *const names[] = {"libcudnn.so.9", "libcudnn.so.8", "libcudnn.so", NULL};
    size_t (*version)(void);
    void *handle = open_first(names, part);
    if (find(handle, "cudnnGetVersion", &version))
        snprintf(part->detail, sizeof part->detail, "version %zu", version());
    close_handle(handle);
}

static void opencl_platforms(void *handle, tn_host_part *part) {
    enum { MOST = 8, PLATFORM_VERSION = 0x0901, PLATFORM_NAME = 0x0902 };
    int (*ids)(unsigned, void **, unsigned *), (*info)(void *, unsigned, size_t, void *, size_t *);
    void *platforms[MOST];
    unsigned count = 0;
    if (!find(handle, "clGetPlatformIDs", &ids) || !find(handle, "clGetPlatformInfo", &info))
        return;
    part->found = ids(MOST, platforms, &count) == 0 && count > 0;
    if (!part->found) {
        snprintf(part->detail, sizeof part->detail,
                 "loader without a platform (pocl-opencl-icd runs it on the CPU)");
        return;
    }
    int used = 0;
    for (unsigned i = 0; i < TN_MIN(count, MOST) && used < (int)sizeof part->detail; i++) {
        char name[96] = "?", version[96] = "";
        info(platforms[i], PLATFORM_NAME, sizeof name, name, NULL);
        info(platforms[i], PLATFORM_VERSION, sizeof version, version, NULL);
        used += snprintf(part->detail + used, sizeof part->detail - (size_t)used, "%s%s (%s)",
                         i ? ", " : "", name, version);
    }
}

static void find_opencl(tn_host_part *part) {
    static const char *const names[] = {"libOpenCL.so.1", NULL};
    void *handle = open_first(names, part);
    if (handle) opencl_platforms(handle, part);
    close_handle(handle);
}

/* ---- messages ------------------------------------------------------------------------------- */

static void find_nccl(tn_host_part *part) {
    static const char *const names[] = {"libnccl.so.2", "libnccl.so", NULL};
    int (*version)(int *), number;
    void *handle = open_first(names, part);
    if (find(handle, "ncclGetVersion", &version) && version(&number) == 0)
        snprintf(part->detail, sizeof part->detail, "version %d.%d.%d", number / 10000,
                 number % 10000 / 100, number % 100);
    close_handle(handle);
}

static void find_mpi(tn_host_part *part) {
    static const char *const names[] = {"libmpi.so.40", "libmpi.so.12", "libmpi.so", NULL};
    enum { LONGEST = 8192 }; /* at least MPI_MAX_LIBRARY_VERSION_STRING of any library */
    static char text[LONGEST];
    int (*version)(char *, int *), len = 0;
    void *handle = open_first(names, part);
    if (find(handle, "MPI_Get_library_version", &version) && version(text, &len) == 0) {
        text[strcspn(text, ",\n")] = 0;
        snprintf(part->detail, sizeof part->detail, "%.200s", text);
    }
    close_handle(handle);
}

int tn_host_parts(tn_host_part out[TN_HOST_PARTS]) {
    static const struct {
        const char *name;
        void (*find)(tn_host_part *part);
    } parts[] = {{"CUDA", find_cuda},   {"NVRTC", find_nvrtc},   {"cuBLASLt", find_cublaslt},
                 {"cuDNN", find_cudnn}, {"OpenCL", find_opencl}, {"MPI", find_mpi},
                 {"NCCL", find_nccl}};
    for (size_t i = 0; i < TN_COUNT(parts); i++) {
        out[i] = (tn_host_part){.name = parts[i].name};
        parts[i].find(&out[i]);
    }
    return (int)TN_COUNT(parts);
}
