// Channel sums on CUDA: the sums of g·a, g² and a² per channel, in one pass over memory.
//
// A block owns a tile of memory: `depth` images (from part · depth) × `breadth` channels (from block · breadth). Its threads
// are the lanes of a row of memory, each lane belongs to one channel, and rows are added lane by lane. Partial sums are pairs of
// float32, so nothing is lost on GPUs with few float64 units. There are no atomics: the order of additions is fixed.
// Plain C++14, compiled by nvcc or NVRTC from CUDA 11.4 on, for sm_72 and later.

constexpr int kLanes = 256;
constexpr int kReducers = 64;
constexpr int kRows = 4;  // rows in flight per thread, added in float32 before they go into the pair

struct Pair {
    float hi, lo;  // the value is hi + lo
};

// Knuth's two-sum: the rounding error of hi + x goes into lo (Knuth, The Art of Computer Programming 2, 4.2.2).
__device__ __forceinline__ void add(Pair& sum, float x) {
    const float total = sum.hi + x;
    const float part = total - sum.hi;
    sum.lo += (sum.hi - (total - part)) + (x - part);
    sum.hi = total;
}

__device__ __forceinline__ void add(Pair& sum, Pair x) {
    add(sum, x.hi);
    sum.lo += x.lo;
}

struct Sums {
    Pair ga, gg, aa;
};

__device__ __forceinline__ void add(Sums& sums, const Sums& x) {
    add(sums.ga, x.ga);
    add(sums.gg, x.gg);
    add(sums.aa, x.aa);
}

struct Float32 {
    typedef float Element;
    static __device__ __forceinline__ float widen(float value) { return value; }
};

struct Float16 {
    typedef unsigned short Element;
    static __device__ __forceinline__ float widen(unsigned short bits) {
        float value;
        asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
        return value;
    }
};

// The upper half of a float32. Shifting works on every architecture; arithmetic on bfloat16 begins with sm_80.
struct BFloat16 {
    typedef unsigned short Element;
    static __device__ __forceinline__ float widen(unsigned short bits) {
        return __uint_as_float(static_cast<unsigned int>(bits) << 16);
    }
};

// Adds up lanes `step` apart, `members` of them, into the first; all threads of the block must call it.
__device__ __forceinline__ void reduce(Sums* sums, int lane, int member, int members, int step) {
    int reach = 1;
    while (2 * reach < members) reach *= 2;
    for (; reach > 0; reach /= 2) {
        __syncthreads();
        if (member < reach && member + reach < members) add(sums[lane], sums[lane + reach * step]);
    }
    __syncthreads();
}

// a, g: images × channels × size elements. partial: parts × channels. One block of kLanes threads per tile.
template <typename T>
__device__ __forceinline__ void tile_sums(
    const typename T::Element* __restrict__ a, const typename T::Element* __restrict__ g, long long images,
    int channels, int size, int depth, int breadth, int blocks, Sums* __restrict__ partial) {
    __shared__ Sums shared[kLanes];
    const int lane = threadIdx.x;
    const long long part = blockIdx.x / blocks;
    const int channel = blockIdx.x % blocks * breadth;
    const int wide = min(breadth, channels - channel);
    const long long image = part * depth;
    int spans = static_cast<int>(min(static_cast<long long>(depth), images - image));
    int length = wide * size;
    const long long distance = static_cast<long long>(channels) * size;
    const int pieces = (length + kLanes - 1) / kLanes;
    int row = (length + pieces - 1) / pieces;  // a long span in rows of about the same length
    if (size == 1 && wide == channels) {       // images follow each other without a gap: several make a row
        length *= spans;
        spans = 1;
        row = kLanes / wide * wide;
    }
    const int rows = lane < row ? (length - lane + row - 1) / row : 0;  // of a span, as far as they reach this lane
    const long long count = static_cast<long long>(spans) * rows;
    const long long jump = distance - static_cast<long long>(rows) * row;

    Sums sums = {};
    long long position = image * distance + static_cast<long long>(channel) * size + lane;
    int in_span = 0;
    const auto advance = [&] {
        position += row;
        if (++in_span == rows) {
            in_span = 0;
            position += jump;
        }
    };
    long long done = 0;
    for (; done + kRows <= count; done += kRows) {
        float x[kRows], y[kRows];
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
            x[i] = T::widen(a[position]);
            y[i] = T::widen(g[position]);
            advance();
        }
        float ga = 0, gg = 0, aa = 0;
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
            ga += y[i] * x[i];
            gg += y[i] * y[i];
            aa += x[i] * x[i];
        }
        add(sums.ga, ga);
        add(sums.gg, gg);
        add(sums.aa, aa);
    }
    for (; done < count; ++done) {
        const float x = T::widen(a[position]), y = T::widen(g[position]);
        add(sums.ga, y * x);
        add(sums.gg, y * y);
        add(sums.aa, x * x);
        advance();
    }

    // Lanes of one channel lie side by side (size > 1) or `wide` apart (size 1).
    shared[lane] = sums;
    const int step = size == 1 ? wide : 1;
    const int members = size == 1 ? row / wide : min(size, row);
    const int member = lane < row ? (size == 1 ? lane / wide : lane % members) : members;
    const int mine = size == 1 ? lane % wide : lane / members;
    reduce(shared, lane, member, members, step);
    if (member == 0) partial[part * channels + channel + mine] = shared[lane];
}

#define TILE_SUMS(name, type)                                                                                          \
    extern "C" __global__ void __launch_bounds__(kLanes)                                                               \
        name(const type::Element* a, const type::Element* g, long long images, int channels, int size, int depth,      \
             int breadth, int blocks, Sums* partial) {                                                                 \
        tile_sums<type>(a, g, images, channels, size, depth, breadth, blocks, partial);                                \
    }

TILE_SUMS(tile_sums_float32, Float32)
TILE_SUMS(tile_sums_float16, Float16)
TILE_SUMS(tile_sums_bfloat16, BFloat16)

// partial: parts × channels → out: 3 × channels, float64. One block of kReducers threads per channel.
extern "C" __global__ void __launch_bounds__(kReducers)
    channel_sums(const Sums* __restrict__ partial, long long parts, int channels, double* __restrict__ out) {
    __shared__ Sums shared[kReducers];
    const int lane = threadIdx.x;
    Sums sums = {};
    for (long long part = lane; part < parts; part += kReducers) add(sums, partial[part * channels + blockIdx.x]);
    shared[lane] = sums;
    reduce(shared, lane, lane, kReducers, 1);
    if (lane == 0) {
        const Sums total = shared[0];
        out[blockIdx.x] = static_cast<double>(total.ga.hi) + total.ga.lo;
        out[channels + blockIdx.x] = static_cast<double>(total.gg.hi) + total.gg.lo;
        out[2 * channels + blockIdx.x] = static_cast<double>(total.aa.hi) + total.aa.lo;
    }
}
