/* An LSTM in C, forward and backward, that checks itself against the test vectors.

   cc -std=c99 -O2 -o check check.c -lm
   ./check VECTORS plain-001 plain-002 ...

   Prints a line per case. Exit status: 0 all agree, 1 something disagrees, 2 could not run.
   It can do the cases of the group "plain" (one layer, no mask, no options but use_bias). */
#include "safetensors.h"

#include <math.h>

enum { GATES = 4 }; /* i, f, g, o */

typedef struct {
    size_t B, T, I, H;
    const double *x, *W, *U, *b, *h_0, *c_0;  /* b, h_0, c_0 may be NULL: zero */
    const double *d_y, *d_h_T, *d_c_T;
} Question;

typedef struct {
    double *y, *h_T, *c_T, *d_W, *d_U, *d_b, *d_x, *d_h_0, *d_c_0;
} Answer;

static double *zeros(size_t count) {
    double *values = calloc(count + 1, sizeof(double));
    if (!values) exit(2);
    return values;
}

static double sigmoid(double z) { return 1 / (1 + exp(-z)); }

/* ---- the implementation under test: replace it by your own ------------------------------------ */

/* One sequence of the batch; gate values and cells of every step are kept for the way back. */
static void lstm(const Question *q, Answer *a, size_t row) {
    size_t T = q->T, I = q->I, H = q->H;
    double *gate = zeros(T * GATES * H), *c = zeros((T + 1) * H), *h = zeros((T + 1) * H);
    double *d_h = zeros(H), *d_c = zeros(H), *d_z = zeros(GATES * H);
    for (size_t j = 0; j < H; j++) {
        if (q->h_0) h[j] = q->h_0[row * H + j];
        if (q->c_0) c[j] = q->c_0[row * H + j];
    }
    for (size_t t = 0; t < T; t++) {
        const double *x = q->x + (row * T + t) * I;
        double *now = gate + t * GATES * H;
        for (size_t k = 0; k < GATES; k++)
            for (size_t j = 0; j < H; j++) {
                double z = q->b ? q->b[k * H + j] : 0;
                for (size_t n = 0; n < I; n++) z += x[n] * q->W[(k * I + n) * H + j];
                for (size_t n = 0; n < H; n++) z += h[t * H + n] * q->U[(k * H + n) * H + j];
                now[k * H + j] = k == 2 ? tanh(z) : sigmoid(z);
            }
        for (size_t j = 0; j < H; j++) {
            double i = now[j], f = now[H + j], g = now[2 * H + j], o = now[3 * H + j];
            c[(t + 1) * H + j] = f * c[t * H + j] + i * g;
            h[(t + 1) * H + j] = o * tanh(c[(t + 1) * H + j]);
            a->y[(row * T + t) * H + j] = h[(t + 1) * H + j];
        }
    }
    for (size_t j = 0; j < H; j++) {
        a->h_T[row * H + j] = h[T * H + j];
        a->c_T[row * H + j] = c[T * H + j];
        d_h[j] = q->d_h_T[row * H + j];
        d_c[j] = q->d_c_T[row * H + j];
    }
    for (size_t t = T; t-- > 0;) {
        const double *x = q->x + (row * T + t) * I, *now = gate + t * GATES * H;
        for (size_t j = 0; j < H; j++) {
            double i = now[j], f = now[H + j], g = now[2 * H + j], o = now[3 * H + j];
            double s = tanh(c[(t + 1) * H + j]);
            d_h[j] += q->d_y[(row * T + t) * H + j];
            d_c[j] += d_h[j] * o * (1 - s * s);
            d_z[j] = d_c[j] * g * i * (1 - i);
            d_z[H + j] = d_c[j] * c[t * H + j] * f * (1 - f);
            d_z[2 * H + j] = d_c[j] * i * (1 - g * g);
            d_z[3 * H + j] = d_h[j] * s * o * (1 - o);
            d_c[j] *= f;
        }
        memset(d_h, 0, H * sizeof(double));
        for (size_t k = 0; k < GATES; k++)
            for (size_t j = 0; j < H; j++) {
                double d = d_z[k * H + j];
                a->d_b[k * H + j] += d;
                for (size_t n = 0; n < I; n++) {
                    a->d_W[(k * I + n) * H + j] += x[n] * d;
                    a->d_x[(row * T + t) * I + n] += q->W[(k * I + n) * H + j] * d;
                }
                for (size_t n = 0; n < H; n++) {
                    a->d_U[(k * H + n) * H + j] += h[t * H + n] * d;
                    d_h[n] += q->U[(k * H + n) * H + j] * d;
                }
            }
    }
    memcpy(a->d_h_0 + row * H, d_h, H * sizeof(double));
    memcpy(a->d_c_0 + row * H, d_c, H * sizeof(double));
    free(gate), free(c), free(h), free(d_h), free(d_c), free(d_z);
}

/* ---- the comparison --------------------------------------------------------------------------- */

/* Error over tolerance of `count` numbers, the larger of that by the norm and by the entry. */
static double ratio(const double *got, const double *expected, size_t count, const double *allowed) {
    double norm = 0, off = 0, peak = 0, most = 0, by_norm, by_entry;
    for (size_t n = 0; n < count; n++) {
        double difference = fabs(got[n] - expected[n]);
        if (!isfinite(got[n])) return INFINITY;
        norm += expected[n] * expected[n];
        off += difference * difference;
        peak = fmax(peak, fabs(expected[n]));
        most = fmax(most, difference);
    }
    if (peak == 0) norm = (double)count, peak = 1; /* against 1: no plain case has such a block */
    by_norm = sqrt(off / norm) / allowed[0];
    by_entry = most / peak / allowed[1];
    return fmax(by_norm, by_entry);
}

/* Arrays with a gate axis are held gate by gate. */
static double worst(const Safetensors *vector, const Safetensors *tolerances, const char *id,
                    const char *name, const double *got, size_t gates) {
    char key[128];
    double most = 0;
    Array expected = safetensors_get(vector, name), allowed;
    snprintf(key, sizeof key, "%s/%s", id, name);
    allowed = safetensors_get(tolerances, key);
    if (!expected.values) return 0; /* no bias, so none of its gradient */
    if (!allowed.values) return INFINITY;
    for (size_t k = 0; k < gates; k++) {
        size_t count = expected.count / gates, at = k * count;
        most = fmax(most, ratio(got + at, expected.values + at, count, allowed.values));
    }
    free(expected.values), free(allowed.values);
    return most;
}

static int check(const char *folder, const Safetensors *tolerances, const char *id) {
    char path[1024];
    Safetensors vector;
    Array x, W, U, b, h_0, c_0, d_y, d_h_T, d_c_T;
    double most = 0;
    const char *where = "";
    snprintf(path, sizeof path, "%s/cases/%s.safetensors", folder, id);
    if (!safetensors_open(&vector, path)) {
        fprintf(stderr, "check: %s: cannot be read\n", path);
        return 2;
    }
    x = safetensors_get(&vector, "x"), W = safetensors_get(&vector, "W");
    U = safetensors_get(&vector, "U"), b = safetensors_get(&vector, "b");
    h_0 = safetensors_get(&vector, "h_0"), c_0 = safetensors_get(&vector, "c_0");
    d_y = safetensors_get(&vector, "d_y"), d_h_T = safetensors_get(&vector, "d_h_T");
    d_c_T = safetensors_get(&vector, "d_c_T");
    if (x.axes != 3 || W.axes != 3 || W.shape[0] != GATES || U.shape[1] != W.shape[2]) {
        fprintf(stderr, "check: %s: not a plain LSTM\n", id);
        return 2;
    }
    size_t B = x.shape[0], T = x.shape[1], I = x.shape[2], H = W.shape[2];
    Question q = {B, T, I, H, x.values, W.values, U.values, b.values, h_0.values, c_0.values,
                  d_y.values, d_h_T.values, d_c_T.values};
    Answer a = {zeros(B * T * H), zeros(B * H), zeros(B * H), zeros(GATES * I * H),
                zeros(GATES * H * H), zeros(GATES * H), zeros(B * T * I), zeros(B * H),
                zeros(B * H)};
    for (size_t row = 0; row < B; row++) lstm(&q, &a, row);

    struct { const char *name; double *got; size_t gates; } blocks[] = {
        {"y", a.y, 1}, {"h_T", a.h_T, 1}, {"c_T", a.c_T, 1}, {"d_x", a.d_x, 1},
        {"d_W", a.d_W, GATES}, {"d_U", a.d_U, GATES}, {"d_b", a.d_b, GATES},
        {"d_h_0", a.d_h_0, 1}, {"d_c_0", a.d_c_0, 1},
    };
    for (size_t n = 0; n < sizeof blocks / sizeof *blocks; n++) {
        double r = worst(&vector, tolerances, id, blocks[n].name, blocks[n].got, blocks[n].gates);
        if (!(r <= most)) most = r, where = blocks[n].name;
    }
    printf("%s: %s, worst %s at %.3g of what is allowed\n", id, most <= 1 ? "agrees" : "DISAGREES",
           where, most);
    return !(most <= 1);
}

int main(int argc, char **argv) {
    char path[1024];
    Safetensors tolerances;
    int status = 0;
    if (argc < 3) {
        fprintf(stderr, "usage: check VECTORS ID...\n");
        return 2;
    }
    snprintf(path, sizeof path, "%s/tolerances.safetensors", argv[1]);
    if (!safetensors_open(&tolerances, path)) {
        fprintf(stderr, "check: %s: cannot be read\n", path);
        return 2;
    }
    for (int n = 2; n < argc; n++) {
        int one = check(argv[1], &tolerances, argv[n]);
        status = one > status ? one : status;
    }
    safetensors_close(&tolerances);
    return status;
}
