/* GroupNorm in C, forward, with one of three classic mistakes if one is named; arrays and exceptions.
 *
 * Values are held and computed in double, and rounded where they leave.
 */
#ifndef GROUP_NORM_H
#define GROUP_NORM_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_DIMENSIONS = 8 };

/* Values in C order with their shape. */
typedef struct {
    size_t dimensions, shape[MOST_DIMENSIONS], size;
    double *values;
} Array;

/* The exception that ended a case. */
typedef struct {
    char where[32], type[32], message[256];
} Raised;

static void *allocated(size_t bytes) {
    void *memory = calloc(bytes ? bytes : 1, 1);
    if (!memory) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

/* Note an exception; false, for the caller to return. */
static int refuse(Raised *raised, const char *type, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    snprintf(raised->type, sizeof raised->type, "%s", type);
    vsnprintf(raised->message, sizeof raised->message, format, arguments);
    va_end(arguments);
    return 0;
}

typedef enum { NO_MISTAKE, EPS_OUTSIDE, INTERLEAVED_GROUPS, UNBIASED_VARIANCE } Mistake;

typedef struct {
    size_t channels, groups;
    double eps;
    double *weight, *bias; /* NULL where the layer has none */
    Mistake mistake;
} GroupNorm;

/* Whether the groups divide the channels. */
static int check_groups(long long channels, long long groups, Raised *raised) {
    if (groups < 1 || channels < 0 || channels % groups)
        return refuse(raised, "ValueError", "num_groups must divide num_channels=%lld, got num_groups=%lld", channels, groups);
    return 1;
}

/* The place in x of value k of a group: its channels are adjacent, or each groups-th with the mistake. */
static size_t place(const GroupNorm *layer, size_t sample, size_t group, size_t k, size_t extent) {
    size_t own = k / extent, each = layer->channels / layer->groups;
    size_t channel = layer->mistake == INTERLEAVED_GROUPS ? own * layer->groups + group : group * each + own;
    return (sample * layer->channels + channel) * extent + k % extent;
}

/* Mean and variance of a group in two passes. */
static int call(const GroupNorm *layer, const Array *x, Array *y, Raised *raised) {
    if (x->dimensions < 2)
        return refuse(raised, "ValueError", "x must have shape (N, C, ...), got %zu dimensions", x->dimensions);
    if (x->shape[1] != layer->channels)
        return refuse(raised, "ValueError", "x must have num_channels=%zu channels, got %zu", layer->channels, x->shape[1]);
    *y = *x;
    y->values = allocated(x->size * sizeof(double));
    size_t extent = 1;
    for (size_t i = 2; i < x->dimensions; i++) extent *= x->shape[i];
    size_t size = layer->channels / layer->groups * extent;
    for (size_t set = 0; size && set < x->shape[0] * layer->groups; set++) {
        size_t sample = set / layer->groups, group = set % layer->groups;
        double sum = 0, squares = 0;
        for (size_t k = 0; k < size; k++) sum += x->values[place(layer, sample, group, k, extent)];
        double mean = sum / (double)size;
        for (size_t k = 0; k < size; k++) {
            double deviation = x->values[place(layer, sample, group, k, extent)] - mean;
            squares += deviation * deviation;
        }
        double variance = squares / (double)(layer->mistake == UNBIASED_VARIANCE ? size - 1 : size);
        double reciprocal = layer->mistake == EPS_OUTSIDE ? 1 / (sqrt(variance) + layer->eps) : 1 / sqrt(variance + layer->eps);
        for (size_t k = 0; k < size; k++) {
            size_t i = place(layer, sample, group, k, extent), channel = i / extent % layer->channels;
            double value = (x->values[i] - mean) * reciprocal;
            if (layer->weight) value *= layer->weight[channel];
            if (layer->bias) value += layer->bias[channel];
            y->values[i] = value;
        }
    }
    return 1;
}

#endif
