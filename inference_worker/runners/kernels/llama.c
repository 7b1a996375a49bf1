/* One step of a Llama-family model with int8 weights: all rows of all sequences through all layers, in one call.
 *
 * What Python would call operator by operator, a team of threads does here without leaving: at one row an operator takes
 * less time than the call of it. Rows are independent but for the cache, which holds each slot's keys as
 * [heads][positions / 16][dim][16] (so that 16 scores are made at once) and its values as [heads][positions][dim].
 */
#include "int8_product.h"
#include <omp.h>
#include <stddef.h>

#define HIDDEN -1e30f /* the score of a position that is not seen */

typedef struct {
    const float *attention_norm, *mlp_norm, *query_norm, *key_norm; /* the latter two may be NULL */
    Product qkv, out, gate_up, down;                                /* gate and up in turns of 16 outputs */
    int32_t window;                                                 /* positions that a row sees */
    bfloat16 *keys, *values;                                        /* [slots][kv_heads][context * dim] */
} Layer;

typedef struct {
    int32_t layers, hidden, heads, kv_heads, dim, intermediate, context, threads;
    float epsilon;
    const Layer *layer;
    const float *norm;
    Product head;
    const float *cosines, *sines; /* [context][dim / 2] */
} Model;

/* What rows are at: `x` is [rows][hidden], in as embeddings. */
typedef struct {
    int32_t rows, scored;
    float *x;
    const int32_t *slots, *positions, *wanted; /* wanted: rows whose scores are, [scored] */
    float *logits;                             /* [scored][head.outputs] */
} Batch;

typedef struct {
    Rounded hidden, heads, inner;
    float *qkv, *scores;
} Scratch;

/* Whether this machine multiplies bytes by instructions of their own, which is what makes int8 fast. */
int has_dot4(void) {
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
    return 1;
#else
    return 0;
#endif
}

static float inverse_rms(const float *x, int count, float epsilon) {
    floats squares = splat(0);
    for (int i = 0; i < count; i += LANES) squares += load(x + i) * load(x + i);
    return 1 / sqrtf(sum(squares) / count + epsilon);
}

static void normalise(const Model *m, const float *x, const int32_t *chosen, int rows, const float *weight, Rounded *to) {
#pragma omp for schedule(static)
    for (int r = 0; r < rows; r++) {
        const float *row = x + (size_t)(chosen ? chosen[r] : r) * m->hidden;
        const float scale = inverse_rms(row, m->hidden, m->epsilon);
        for (int g = 0; g < m->hidden / GROUP; g++) {
            const int at = g * GROUP;
            round_group(to, r, g, load(row + at) * scale * load(weight + at),
                        load(row + at + LANES) * scale * load(weight + at + LANES));
        }
    }
}

/* to[r][:] = or += x[r] times the weights. */
static void multiply(const Product *with, const Rounded *x, int rows, float *to, int add) {
    const int tiles = (rows + TILE - 1) / TILE, team = omp_get_num_threads();
#pragma omp for schedule(dynamic, 1)
    for (int pair = 0; pair < with->outputs / PAIR; pair++)
        for (int first = 0; first < rows; first += TILE) {
            floats out[TILE][2];
            const int some_rows = rows - first < TILE ? rows - first : TILE;
            some(with, x, first, pair, some_rows, out, ahead(with, pair + team, first / TILE, tiles));
            for (int r = 0; r < some_rows; r++)
                for (int c = 0; c < 2; c++) {
                    float *place = to + (size_t)(first + r) * with->outputs + PAIR * pair + LANES * c;
                    store(place, add ? load(place) + out[r][c] : out[r][c]);
                }
        }
}

/* to[r] = silu(gate) * up (SwiGLU, arXiv:2002.05202). */
static void gate(const Product *with, const Rounded *x, int rows, Rounded *to) {
    const int tiles = (rows + TILE - 1) / TILE, team = omp_get_num_threads();
#pragma omp for schedule(dynamic, 1)
    for (int group = 0; group < to->inputs / GROUP; group++)
        for (int first = 0; first < rows; first += TILE) {
            floats out[TILE][2], inner[TILE][2];
            const int some_rows = rows - first < TILE ? rows - first : TILE;
            for (int half = 0; half < 2; half++) {
                some(with, x, first, 2 * group + half, some_rows, out, ahead(with, 2 * (group + team) + half, first / TILE, tiles));
                for (int r = 0; r < some_rows; r++) inner[r][half] = out[r][0] / (1 + exponential(-out[r][0])) * out[r][1];
            }
            for (int r = 0; r < some_rows; r++) round_group(to, first + r, group, inner[r][0], inner[r][1]);
        }
}

/* Norm (where the family has one) and rotary position of one head, in place (RoFormer, arXiv:2104.09864). */
static void place_head(const Model *m, float *head, const float *norm, int position) {
    const int half = m->dim / 2;
    const float *cosine = m->cosines + (size_t)position * half, *sine = m->sines + (size_t)position * half;
    if (norm) {
        const float scale = inverse_rms(head, m->dim, m->epsilon);
        for (int i = 0; i < m->dim; i++) head[i] *= scale * norm[i];
    }
    for (int i = 0; i < half; i++) {
        const float low = head[i], high = head[i + half];
        head[i] = low * cosine[i] - high * sine[i];
        head[i + half] = high * cosine[i] + low * sine[i];
    }
}

static void remember(const Model *m, const Layer *layer, const Batch *batch, float *qkv) {
    const int width = (m->heads + 2 * m->kv_heads) * m->dim;
#pragma omp for schedule(static)
    for (int unit = 0; unit < batch->rows * m->kv_heads; unit++) {
        const int row = unit / m->kv_heads, head = unit % m->kv_heads, at = batch->positions[row];
        float *key = qkv + (size_t)row * width + (m->heads + head) * m->dim, *value = key + m->kv_heads * m->dim;
        const size_t cache = ((size_t)batch->slots[row] * m->kv_heads + head) * m->context * m->dim;
        bfloat16 *keys = layer->keys + cache + (size_t)(at / LANES) * m->dim * LANES + at % LANES;
        bfloat16 *values = layer->values + cache + (size_t)at * m->dim;
        place_head(m, key, layer->key_norm, at);
        for (int i = 0; i < m->dim; i++) keys[i * LANES] = narrow(key[i]), values[i] = narrow(value[i]);
    }
}

/* What `count` query heads of one row, that share keys and values, see; into `queries`. Meanwhile memory is asked for keys
 * and values at the same positions `further` on, which the thread will take next. */
INLINE void look(const Model *m, const bfloat16 *keys, const bfloat16 *values, float *queries, int begin, int end,
                 float *scores, ptrdiff_t further, const int count) {
    const float scale = 1 / sqrtf(m->dim);
    floats most[4], total[4];
    for (int h = 0; h < count; h++) most[h] = splat(HIDDEN), total[h] = splat(0);
    const int start = begin / LANES * LANES;
    const ints lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int at = start; at < end; at += 2 * LANES) {
        floats made[2][4];
        /* Two blocks of positions side by side: their sums need not wait for one another. */
        const bfloat16 *block = keys + (size_t)at * m->dim, *next = at + LANES < end ? block + m->dim * LANES : block;
        for (int h = 0; h < count; h++) made[0][h] = made[1][h] = splat(0);
        for (int i = 0; i < m->dim; i++) {
            const floats key = widen(block + i * LANES), other = widen(next + i * LANES);
            __builtin_prefetch(block + further + i * 2 * LANES, 0, 3); /* a line, so half as far again as was read */
            for (int h = 0; h < count; h++) {
                made[0][h] += key * queries[h * m->dim + i];
                made[1][h] += other * queries[h * m->dim + i];
            }
        }
        for (int b = 0; b < 2 && at + b * LANES < end; b++) {
            const ints places = lanes + (at + b * LANES), seen = (places >= begin) & (places < end);
            for (int h = 0; h < count; h++) {
                const floats score = pick(seen, made[b][h] * scale, splat(HIDDEN));
                most[h] = larger(score, most[h]);
                store(scores + (size_t)h * m->context + at + b * LANES, score);
            }
        }
    }
    float factor[4];
    for (int h = 0; h < count; h++) {
        const float top = largest(most[h]);
        for (int at = start; at < end; at += LANES) {
            float *place = scores + (size_t)h * m->context + at;
            const floats score = load(place), weight = pick(score == HIDDEN, splat(0), exponential(score - top));
            store(place, weight);
            total[h] += weight;
        }
        factor[h] = 1 / sum(total[h]);
    }
    for (int i = 0; i < m->dim; i += 2 * LANES) {
        floats seen[2][4];
        for (int h = 0; h < count; h++) seen[0][h] = seen[1][h] = splat(0);
        for (int at = begin; at < end; at++) {
            const bfloat16 *value = values + (size_t)at * m->dim + i;
            __builtin_prefetch(value + further, 0, 3);
            const floats low = widen(value), high = widen(value + LANES);
            for (int h = 0; h < count; h++) {
                const float weight = scores[(size_t)h * m->context + at];
                seen[0][h] += low * weight;
                seen[1][h] += high * weight;
            }
        }
        for (int h = 0; h < count; h++)
            for (int b = 0; b < 2; b++) store(queries + h * m->dim + i + b * LANES, seen[b][h] * factor[h]);
    }
}

static void attend(const Model *m, const Layer *layer, const Batch *batch, float *qkv, float *scores, Rounded *to) {
    const int shared = m->heads / m->kv_heads, width = (m->heads + 2 * m->kv_heads) * m->dim;
    const int units = batch->rows * m->kv_heads, team = omp_get_num_threads();
#pragma omp for schedule(dynamic, 1)
    for (int unit = 0; unit < units; unit++) {
        const int row = unit / m->kv_heads, head = unit % m->kv_heads, end = batch->positions[row] + 1;
        const int begin = end > layer->window ? end - layer->window : 0;
        const size_t cache = ((size_t)batch->slots[row] * m->kv_heads + head) * m->context * m->dim;
        const bfloat16 *keys = layer->keys + cache, *values = layer->values + cache;
        float *mine = scores + (size_t)omp_get_thread_num() * 4 * m->context;
        const int then = unit + team < units ? unit + team : unit, its_row = then / m->kv_heads, its_head = then % m->kv_heads;
        const ptrdiff_t further = ((size_t)batch->slots[its_row] * m->kv_heads + its_head) * m->context * m->dim - cache;
        for (int from = 0, count; from < shared; from += count) {
            float *queries = qkv + (size_t)row * width + (head * shared + from) * m->dim;
            count = shared - from < 4 ? shared - from : 4;
            for (int h = 0; h < count; h++)
                place_head(m, queries + h * m->dim, layer->query_norm, batch->positions[row]);
            switch (count) {
            case 1: look(m, keys, values, queries, begin, end, mine, further, 1); break;
            case 2: look(m, keys, values, queries, begin, end, mine, further, 2); break;
            case 3: look(m, keys, values, queries, begin, end, mine, further, 3); break;
            default: look(m, keys, values, queries, begin, end, mine, further, 4);
            }
            for (int g = 0; g < count * m->dim / GROUP; g++)
                round_group(to, row, (head * shared + from) * m->dim / GROUP + g, load(queries + g * GROUP),
                            load(queries + g * GROUP + LANES));
        }
    }
}

/* Cuts memory into pieces that begin at cache lines; with none, only counts. */
static void *cut(char *memory, size_t *used, size_t bytes) {
    void *piece = memory ? memory + *used : NULL;
    *used += (bytes + 63) / 64 * 64;
    return piece;
}

static size_t lay_out(const Model *m, int rows, char *memory, Scratch *to) {
    size_t used = 0;
    Rounded *each[] = {&to->hidden, &to->heads, &to->inner};
    const int32_t inputs[] = {m->hidden, m->heads * m->dim, m->intermediate};
    for (int i = 0; i < 3; i++) {
        each[i]->inputs = inputs[i];
        each[i]->values = cut(memory, &used, (size_t)rows * inputs[i]);
        each[i]->scales = cut(memory, &used, (size_t)rows * inputs[i] / GROUP * sizeof(float));
        each[i]->starts = cut(memory, &used, (size_t)rows * inputs[i] / GROUP * sizeof(int32_t));
    }
    to->qkv = cut(memory, &used, (size_t)rows * m->layer->qkv.outputs * sizeof(float));
    to->scores = cut(memory, &used, (size_t)m->threads * 4 * m->context * sizeof(float));
    return used;
}

/* Lays out a weight, [16 * blocks][inputs]. */
void pack(const float *rows, int blocks, int inputs, uint8_t *weights, bfloat16 *scales, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int b = 0; b < blocks; b++) {
        const size_t at = (size_t)b * inputs;
        pack_block(rows + at * LANES, inputs, weights + at * LANES, scales + at / GROUP * LANES);
    }
}

/* Bytes that a step of so many rows needs beside the model. */
size_t scratch_bytes(const Model *m, int rows) {
    Scratch none;
    return lay_out(m, rows, NULL, &none);
}

/* Runs one step; `memory` is of `scratch_bytes`, at a multiple of 64. */
void step(const Model *m, const Batch *batch, char *memory) {
    Scratch s;
    lay_out(m, batch->rows, memory, &s);
    const int rows = batch->rows;
#pragma omp parallel num_threads(m->threads)
    {
        for (int i = 0; i < m->layers; i++) {
            const Layer *layer = m->layer + i;
            normalise(m, batch->x, NULL, rows, layer->attention_norm, &s.hidden);
            multiply(&layer->qkv, &s.hidden, rows, s.qkv, 0);
            remember(m, layer, batch, s.qkv);
            attend(m, layer, batch, s.qkv, s.scores, &s.heads);
            multiply(&layer->out, &s.heads, rows, batch->x, 1);
            normalise(m, batch->x, NULL, rows, layer->mlp_norm, &s.hidden);
            gate(&layer->gate_up, &s.hidden, rows, &s.inner);
            multiply(&layer->down, &s.inner, rows, batch->x, 1);
        }
        normalise(m, batch->x, batch->wanted, batch->scored, m->norm, &s.hidden);
        multiply(&m->head, &s.hidden, batch->scored, batch->logits, 0);
    }
}
