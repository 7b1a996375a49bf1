/* Sixteen lanes, whatever the machine has: GCC's and Clang's vector types, which the compiler splits where registers are
 * narrower. Only the product of four bytes has instructions of its own, on x86 with VNNI.
 */
#pragma once
#include <stdint.h>
#include <string.h>
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
#include <immintrin.h>
#endif

#define LANES 16
#define INLINE static inline __attribute__((always_inline))

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
typedef uint16_t bfloat16;

INLINE floats splat(float value) { return value - (floats){0}; }

INLINE floats load(const float *from) {
    floats value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE void store(float *to, floats value) { memcpy(to, &value, sizeof value); }

INLINE floats widen(const bfloat16 *from) {
    halves value;
    memcpy(&value, from, sizeof value);
    return (floats)(__builtin_convertvector(value, words) << 16);
}

/* Rounds to nearest, ties to even. */
INLINE bfloat16 narrow(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bfloat16)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

/* Lanes of `one` where a comparison held, of `other` where it did not. */
INLINE floats pick(ints held, floats one, floats other) { return (floats)((held & (ints)one) | (~held & (ints)other)); }

INLINE floats larger(floats one, floats other) { return pick(one > other, one, other); }

/* All lanes turned by some places. */
#ifdef __clang__
#define TURN(value, ...) __builtin_shufflevector(value, value, __VA_ARGS__)
#else
#define TURN(value, ...) __builtin_shuffle(value, (ints){__VA_ARGS__})
#endif
#define TURN_8(value) TURN(value, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)
#define TURN_4(value) TURN(value, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3)
#define TURN_2(value) TURN(value, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1)
#define TURN_1(value) TURN(value, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0)

INLINE float largest(floats value) {
    value = larger(value, TURN_8(value));
    value = larger(value, TURN_4(value));
    value = larger(value, TURN_2(value));
    return larger(value, TURN_1(value))[0];
}

INLINE float sum(floats value) {
    value += TURN_8(value);
    value += TURN_4(value);
    value += TURN_2(value);
    return (value + TURN_1(value))[0];
}

INLINE int32_t total(ints value) {
    value += TURN_8(value);
    value += TURN_4(value);
    value += TURN_2(value);
    return (value + TURN_1(value))[0];
}

/* The nearest whole number, for magnitudes below 2^22: a sum with 1.5 * 2^23 has no room for a fraction. */
INLINE floats nearest(floats value) { return value + 12582912.0f - 12582912.0f; }

/* Each lane adds the products of its four weights (unsigned) with the four values (signed). */
INLINE ints dot4(ints into, const uint8_t *weights, const int8_t *values) {
    int32_t four;
    memcpy(&four, values, sizeof four);
#if defined(__AVX512VNNI__)
    return (ints)_mm512_dpbusd_epi32((__m512i)into, _mm512_loadu_si512(weights), _mm512_set1_epi32(four));
#elif defined(__AVXVNNI__)
    __m256i half[2], spread = _mm256_set1_epi32(four);
    memcpy(half, &into, sizeof half);
    for (int i = 0; i < 2; i++)
        half[i] = _mm256_dpbusd_avx_epi32(half[i], _mm256_loadu_si256((const __m256i *)(weights + 32 * i)), spread);
    memcpy(&into, half, sizeof into);
    return into;
#else
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < 4; j++) into[i] += weights[4 * i + j] * values[j];
    return into;
#endif
}

/* e to the power of each lane, to 2 units in the last place (Cephes' expf). */
INLINE floats exponential(floats x) {
    x = -larger(-larger(x, splat(-87.3f)), splat(-88.3f));
    const floats whole = nearest(x * 1.44269504f);
    const floats rest = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    floats power = splat(1.9875691500e-4f);
    power = power * rest + 1.3981999507e-3f;
    power = power * rest + 8.3334519073e-3f;
    power = power * rest + 4.1665795894e-2f;
    power = power * rest + 1.6666665459e-1f;
    power = power * rest + 5.0000001201e-1f;
    power = power * rest * rest + rest + 1.0f;
    return (floats)((ints)power + (__builtin_convertvector(whole, ints) << 23));
}
