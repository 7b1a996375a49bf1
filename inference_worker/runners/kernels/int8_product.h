/* Products of rows with constant int8 weights, 32 inputs to a scale, as llama.cpp's Q8_0 has them; rows are rounded the
 * same way. A row's result never depends on which rows come with it.
 *
 * Weights lie as [outputs / 16][inputs / 32][8][16][4]: what `dot4` takes, in the order in which it is taken. They are
 * stored with 128 added, since the instruction wants one side unsigned; 128 times the sum of the row's values is what
 * that adds, so each group starts from its negative.
 */
#pragma once
#include "vectors.h"
#include <math.h>

#define GROUP 32
#define PAIR 32 /* outputs that a tile makes: two vectors */
#define LINE 64 /* bytes of a cache line */
#define TILE 4  /* rows that a tile makes: with PAIR, as many sums as registers hold */

typedef struct {
    const uint8_t *weights;
    const bfloat16 *scales; /* [outputs / 16][inputs / 32][16] */
    const float *bias;      /* [outputs] or NULL */
    int32_t inputs, outputs;
} Product;

/* Rows as they enter products: values [rows][inputs], and of each group its scale and its start. */
typedef struct {
    int8_t *values;
    float *scales;
    int32_t *starts;
    int32_t inputs;
} Rounded;

INLINE void round_group(const Rounded *to, int row, int group, floats low, floats high) {
    const float most = largest(larger(larger(low, -low), larger(high, -high)));
    const float factor = most > 0 ? 127 / most : 0;
    const ints first = __builtin_convertvector(nearest(low * factor), ints);
    const ints second = __builtin_convertvector(nearest(high * factor), ints);
    typedef int8_t bytes __attribute__((vector_size(LANES)));
    const bytes narrow_first = __builtin_convertvector(first, bytes), narrow_second = __builtin_convertvector(second, bytes);
    int8_t *values = to->values + (size_t)row * to->inputs + group * GROUP;
    memcpy(values, &narrow_first, LANES);
    memcpy(values + LANES, &narrow_second, LANES);
    const size_t place = (size_t)row * (to->inputs / GROUP) + group;
    to->scales[place] = most / 127;
    to->starts[place] = -128 * total(first + second);
}

/* Lays out sixteen rows of a weight, [16][inputs]. Values are rounded with the scale as it is kept, so that to keep it
 * in bfloat16 costs nothing. */
static void pack_block(const float *rows, int inputs, uint8_t *weights, bfloat16 *scales) {
    for (int g = 0; g < inputs / GROUP; g++, weights += GROUP * LANES, scales += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            const float *group = rows + (size_t)lane * inputs + g * GROUP;
            float most = 0;
            for (int k = 0; k < GROUP; k++) most = fabsf(group[k]) > most ? fabsf(group[k]) : most;
            scales[lane] = narrow(most / 127);
            const uint32_t bits = (uint32_t)scales[lane] << 16;
            float scale;
            memcpy(&scale, &bits, sizeof scale);
            for (int k = 0; k < GROUP; k++) {
                const float value = scale > 0 ? rintf(group[k] / scale) : 0;
                weights[(k / 4 * LANES + lane) * 4 + k % 4] = 128 + (int)(value > 127 ? 127 : value < -127 ? -127 : value);
            }
        }
}

/* What a tile asks memory for while it computes: its share of the weights that its thread will take next. Where a pair has
 * several tiles only the first would wait for memory, and memory for the others: 11.3 ms for 16 rows of SmolLM2, 9.2 so;
 * and where it has one, memory would not work beside the processor: 5.6 ms for 4 rows, 4.8 so. */
typedef struct {
    const uint8_t *at;
    int lines; /* of 64 bytes, for each group: 16, 8, 4, 2, 1 or none */
} Ahead;

/* The share of tile `number` of `tiles` in the weights of a pair; none where there is no such pair. */
INLINE Ahead ahead(const Product *with, int pair, int number, int tiles) {
    const int whole = GROUP * PAIR / LINE, at_least = (whole + tiles - 1) / tiles;
    const int lines = at_least > 8 ? 16 : at_least > 4 ? 8 : at_least > 2 ? 4 : at_least;
    const int some = number < whole / lines && pair < with->outputs / PAIR;
    const size_t group = (size_t)with->inputs / GROUP * LINE;
    return some ? (Ahead){with->weights + pair * whole * group + number * lines * group, lines} : (Ahead){with->weights, 0};
}

INLINE void tile(const Product *with, const Rounded *x, int first, int pair, const int rows, floats out[][2],
                 const uint8_t *next, const int lines) {
    const int groups = with->inputs / GROUP;
    const size_t block = (size_t)with->inputs * LANES;
    const uint8_t *weights = with->weights + 2 * pair * block;
    const bfloat16 *scales = with->scales + (size_t)2 * pair * groups * LANES;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < 2; c++)
            out[r][c] = with->bias ? load(with->bias + PAIR * pair + LANES * c) : splat(0);
    for (int g = 0; g < groups; g++, weights += GROUP * LANES, scales += LANES) {
        for (int line = 0; line < lines; line++, next += LINE) __builtin_prefetch(next, 0, 3);
        ints sums[TILE][2];
        for (int r = 0; r < rows; r++)
            sums[r][0] = sums[r][1] = x->starts[(size_t)(first + r) * groups + g] - (ints){0};
        for (int k = 0; k < GROUP; k += 4)
            for (int r = 0; r < rows; r++) {
                const int8_t *values = x->values + (size_t)(first + r) * x->inputs + g * GROUP + k;
                sums[r][0] = dot4(sums[r][0], weights + k * LANES, values);
                sums[r][1] = dot4(sums[r][1], weights + block + k * LANES, values);
            }
        for (int c = 0; c < 2; c++) {
            const floats scale = widen(scales + (size_t)c * groups * LANES);
            for (int r = 0; r < rows; r++)
                out[r][c] += __builtin_convertvector(sums[r][c], floats) * (scale * x->scales[(size_t)(first + r) * groups + g]);
        }
    }
}

/* Up to TILE rows times PAIR outputs; numbers become constants, so that the sums stay in registers. */
static void some(const Product *with, const Rounded *x, int first, int pair, int rows, floats out[][2], Ahead next) {
    switch (rows == TILE ? TILE + next.lines : rows) {
    case 1: tile(with, x, first, pair, 1, out, NULL, 0); break;
    case 2: tile(with, x, first, pair, 2, out, NULL, 0); break;
    case 3: tile(with, x, first, pair, 3, out, NULL, 0); break;
    case TILE: tile(with, x, first, pair, TILE, out, NULL, 0); break;
    case TILE + 1: tile(with, x, first, pair, TILE, out, next.at, 1); break;
    case TILE + 2: tile(with, x, first, pair, TILE, out, next.at, 2); break;
    case TILE + 4: tile(with, x, first, pair, TILE, out, next.at, 4); break;
    case TILE + 8: tile(with, x, first, pair, TILE, out, next.at, 8); break;
    default: tile(with, x, first, pair, TILE, out, next.at, 16);
    }
}
