// Stands in for NVIDIA's driver where there is none: the few calls fkp makes, done on the processor.
//
// Memory is this computer's, a stream runs what it is given at once, a captured graph is a list of what to do, and the
// one kernel there is is our own.  INIT, VERSION, COUNT, MAJOR and MINOR are what the driver says of itself.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <functional>
#include <string>
#include <vector>

#include <dlfcn.h>

#define __device__
#define __global__
struct Index { unsigned x, y; };
static Index blockIdx, threadIdx, blockDim;
#include "crop.cu"

typedef unsigned long long Address;
typedef std::vector<std::function<void()>> Work;
static Work* recording = nullptr;

static int enqueue(std::function<void()> work) {
    if (recording) recording->push_back(work);
    else work();
    return 0;
}

static void* allocated(size_t size) { return aligned_alloc(256, (size + 255) / 256 * 256); }

extern "C" {
int cuInit(unsigned) { return INIT; }
int cuDriverGetVersion(int* version) { *version = VERSION; return 0; }
int cuDeviceGetCount(int* count) { *count = COUNT; return 0; }
int cuDeviceGet(int* device, int index) { *device = index; return 0; }
int cuDeviceGetName(char* name, int length, int) { strncpy(name, "Card", length); return 0; }
int cuDeviceGetAttribute(int* value, int which, int) { *value = which == 75 ? MAJOR : which == 76 ? MINOR : -1; return 0; }
int cuGetErrorString(int, const char** text) { *text = "no CUDA-capable device is detected"; return 0; }
int cuDevicePrimaryCtxRetain(void** context, int) { *context = &recording; return 0; }
int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
int cuCtxSetCurrent(void* context) { return context == &recording ? 0 : 201; }
int cuStreamCreate(void** stream, unsigned) { *stream = &recording; return 0; }
int cuStreamDestroy_v2(void*) { return 0; }
int cuStreamSynchronize(void*) { return recording ? 900 : 0; }
int cuMemAlloc_v2(Address* address, size_t size) { *address = (Address)allocated(size); return 0; }
int cuMemFree_v2(Address address) { free((void*)address); return 0; }
int cuMemHostAlloc(void** address, size_t size, unsigned) { *address = allocated(size); return 0; }
int cuMemFreeHost(void* address) { free(address); return 0; }
int cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t size, void*) {
    return enqueue([=] { memcpy((void*)to, from, size); });
}
int cuMemcpyDtoHAsync_v2(void* to, Address from, size_t size, void*) {
    return enqueue([=] { memcpy(to, (void*)from, size); });
}
int cuModuleLoadData(void** module, const void* image) { *module = &recording; return memcmp(image, "\x7f" "ELF", 4) ? 200 : 0; }
int cuModuleUnload(void*) { return 0; }
int cuModuleGetFunction(void** function, void*, const char* name) {
    *function = (void*)cut_faces;
    return strcmp(name, "cut_faces") ? 500 : 0;
}
int cuLaunchKernel(void*, unsigned across, unsigned down, unsigned, unsigned threads, unsigned, unsigned, unsigned, void*,
                   void** arguments, void**) {
    Address faces = *(Address*)arguments[0], pixels = *(Address*)arguments[1], crops = *(Address*)arguments[2];
    return enqueue([=] {
        blockDim.x = threads;
        for (blockIdx.y = 0; blockIdx.y < down; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < across; ++blockIdx.x)
                for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x)
                    cut_faces((const Face*)faces, (const unsigned char*)pixels, (unsigned char*)crops);
    });
}
int cuStreamBeginCapture_v2(void*, int) { recording = new Work; return 0; }
int cuStreamEndCapture(void*, void** graph) { *graph = recording; recording = nullptr; return 0; }
int cuGraphInstantiateWithFlags(void** executable, void* graph, Address) { *executable = new Work(*(Work*)graph); return 0; }
int cuGraphDestroy(void* graph) { delete (Work*)graph; return 0; }
int cuGraphExecDestroy(void* executable) { delete (Work*)executable; return 0; }
int cuGraphLaunch(void* executable, void*) {
    for (auto& work : *(Work*)executable) work();
    return 0;
}
// Not of the driver: a test's own work on the stream, as an engine would put it there.
void enqueue_call(void (*call)(void)) { enqueue([=] { call(); }); }

int cuGetProcAddress_v2(const char* symbol, void** function, int, Address, int*) {
    Dl_info self;
    dladdr((void*)cuInit, &self);
    void* library = dlopen(self.dli_fname, RTLD_NOW);
    std::string name = symbol;
    if (name == "cuGraphInstantiate") name += "WithFlags";
    for (const char* version : {"_v2", ""})
        if ((*function = dlsym(library, (name + version).c_str()))) return 0;
    return 500;
}
}
