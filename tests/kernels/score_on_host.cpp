// Runs kernels/score.cu on the CPU, one thread of the operating system per CUDA thread, block after block: its logic, with no GPU.
#include <pthread.h>

#include <cstring>
#include <thread>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __shared__ static

struct Index {
    unsigned x;
};
static thread_local Index threadIdx, blockIdx;
static pthread_barrier_t barrier;

static void __syncthreads() { pthread_barrier_wait(&barrier); }

template <typename T>
static T min(T a, T b) {
    return a < b ? a : b;
}

template <typename To, typename From>
static To reinterpret(From bits) {
    To value;
    static_assert(sizeof(To) == sizeof(From), "");
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

static float __uint_as_float(unsigned bits) { return reinterpret<float>(bits); }

// The only assembly is the conversion from float16.
#define asm(...) value = static_cast<float>(reinterpret<_Float16>(bits))
#include SCORE_CU
#undef asm

template <typename Kernel>
static void launch(unsigned blocks, unsigned threads, Kernel kernel) {
    pthread_barrier_init(&barrier, nullptr, threads);
    std::vector<std::thread> running;
    for (unsigned thread = 0; thread < threads; ++thread)
        running.emplace_back([=] {
            threadIdx.x = thread;
            for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
                kernel();
                __syncthreads();
            }
        });
    for (auto& one : running) one.join();
    pthread_barrier_destroy(&barrier);
}

extern "C" void run(const char* kind, const void* a, const void* g, long long images, int channels, int size, int depth,
                    int breadth, int parts, int blocks, double* out) {
    std::vector<Sums> memory(static_cast<size_t>(parts) * channels);
    Sums* partial = memory.data();
    const auto a16 = static_cast<const unsigned short*>(a), g16 = static_cast<const unsigned short*>(g);
    const auto a32 = static_cast<const float*>(a), g32 = static_cast<const float*>(g);
    launch(parts * blocks, kLanes, [=] {
        if (!std::strcmp(kind, "float32")) tile_sums_float32(a32, g32, images, channels, size, depth, breadth, blocks, partial);
        if (!std::strcmp(kind, "float16")) tile_sums_float16(a16, g16, images, channels, size, depth, breadth, blocks, partial);
        if (!std::strcmp(kind, "bfloat16")) tile_sums_bfloat16(a16, g16, images, channels, size, depth, breadth, blocks, partial);
    });
    launch(channels, kReducers, [=] { channel_sums(partial, parts, channels, out); });
}
