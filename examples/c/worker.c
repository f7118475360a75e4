/* A worker in C: GroupNorm, forward, behind the line protocol (docs/protocol.md). What it lacks, its hello declares.
 *
 * JSON is read and written by Jansson, the layer is in group_norm.h.
 *
 * Build: gcc -std=c11 -O2 -Wall -Wextra -Werror -o worker worker.c -ljansson -lm
 * Usage: worker float32|float64
 */
#define _GNU_SOURCE
#include <jansson.h>

#include "group_norm.h"

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* --- arrays: base64 of little-endian values, as this machine has them ------------------------------------------ */

static unsigned char *decode_base64(const char *text, size_t *length) {
    size_t letters = strlen(text), count = 0;
    unsigned char *bytes = allocated(letters / 4 * 3);
    unsigned quantum = 0;
    for (size_t i = 0; i < letters && text[i] != '='; i++) {
        quantum = quantum << 6 | (unsigned)(strchr(ALPHABET, text[i]) - ALPHABET);
        if (i % 4) bytes[count++] = (unsigned char)(quantum >> (6 - i % 4 * 2));
    }
    *length = count;
    return bytes;
}

static char *encode_base64(const unsigned char *bytes, size_t length) {
    char *text = allocated((length + 2) / 3 * 4 + 1), *end = text;
    for (size_t i = 0; i < length; i += 3) {
        unsigned quantum = bytes[i] << 16;
        if (i + 1 < length) quantum |= bytes[i + 1] << 8;
        if (i + 2 < length) quantum |= bytes[i + 2];
        *end++ = ALPHABET[quantum >> 18];
        *end++ = ALPHABET[quantum >> 12 & 63];
        *end++ = i + 1 < length ? ALPHABET[quantum >> 6 & 63] : '=';
        *end++ = i + 2 < length ? ALPHABET[quantum & 63] : '=';
    }
    return text;
}

static Array decode_array(const json_t *message) {
    Array array = {0};
    const json_t *shape = json_object_get(message, "shape");
    array.dimensions = json_array_size(shape);
    if (array.dimensions > MOST_DIMENSIONS) {
        fprintf(stderr, "an array of %zu dimensions; at most %d are known\n", array.dimensions, MOST_DIMENSIONS);
        exit(1);
    }
    array.size = 1;
    for (size_t i = 0; i < array.dimensions; i++)
        array.size *= array.shape[i] = (size_t)json_integer_value(json_array_get(shape, i));
    size_t length;
    unsigned char *bytes = decode_base64(json_string_value(json_object_get(message, "data")), &length);
    array.values = allocated(array.size * sizeof(double));
    if (strcmp(json_string_value(json_object_get(message, "dtype")), "float64") == 0)
        memcpy(array.values, bytes, array.size * sizeof(double));
    else
        for (size_t i = 0; i < array.size; i++) array.values[i] = ((const float *)bytes)[i];
    free(bytes);
    return array;
}

static json_t *encode_array(const Array *array, const char *dtype) {
    size_t width = strcmp(dtype, "float64") == 0 ? sizeof(double) : sizeof(float);
    float *rounded = allocated(array->size * sizeof(float));
    for (size_t i = 0; i < array->size; i++) rounded[i] = (float)array->values[i];
    const void *bytes = width == sizeof(double) ? (const void *)array->values : (const void *)rounded;
    char *text = encode_base64(bytes, array->size * width);
    json_t *shape = json_array();
    for (size_t i = 0; i < array->dimensions; i++) json_array_append_new(shape, json_integer((json_int_t)array->shape[i]));
    json_t *message = json_pack("{s:s, s:o, s:s}", "dtype", dtype, "shape", shape, "data", text);
    free(rounded);
    free(text);
    return message;
}

/* --- the layer ------------------------------------------------------------------------------------------------- */

/* A parameter as it is given, or its initial value for every channel; NULL where the layer has none. */
static int parameter(const json_t *one, const char *name, double initial, size_t channels, double **values, Raised *raised) {
    const json_t *wanted = json_object_get(json_object_get(one, "settings"), name);
    const json_t *given = json_object_get(json_object_get(one, "parameters"), name);
    *values = NULL;
    if (wanted && !json_is_true(wanted)) return 1;
    Array array = {.size = channels};
    if (given) {
        array = decode_array(given);
        if (array.size != channels) {
            free(array.values);
            return refuse(raised, "ValueError", "%s must have num_channels=%zu values, got %zu", name, channels, array.size);
        }
    } else {
        array.values = allocated(channels * sizeof(double));
        for (size_t c = 0; c < channels; c++) array.values[c] = initial;
    }
    *values = array.values;
    return 1;
}

static int construct(GroupNorm *layer, const json_t *one, Raised *raised) {
    const json_t *settings = json_object_get(one, "settings"), *eps = json_object_get(settings, "eps");
    json_int_t channels = json_integer_value(json_object_get(settings, "num_channels"));
    json_int_t groups = json_integer_value(json_object_get(settings, "num_groups"));
    if (!check_groups(channels, groups, raised)) return 0;
    layer->channels = (size_t)channels;
    layer->groups = (size_t)groups;
    layer->eps = eps ? json_number_value(eps) : 1e-5;
    return parameter(one, "weight", 1, layer->channels, &layer->weight, raised) &&
           parameter(one, "bias", 0, layer->channels, &layer->bias, raised);
}

/* --- the protocol ---------------------------------------------------------------------------------------------- */

static void say(json_t *message) {
    char *text = json_dumps(message, JSON_COMPACT);
    if (!text) exit(1);
    puts(text);
    fflush(stdout);
    free(text);
    json_decref(message);
}

static void say_hello(void) {
    say(json_pack(
        "{s:i, s:s, s:{s:s, s:s}, s:s, s:s, s:[s, s], s:[{s:s, s:s, s:s, s:s, s:[i, i, i, i],"
        " s:{s:s, s:s, s:s, s:s, s:s}, s:{}, s:{s:f}, s:[{s:s, s:s, s:b}]}]}",
        "protocol", 2, "framework", "foreign-c", "versions", "foreign-c", "1", "jansson", JANSSON_VERSION,
        "platform", "C11", "device", "cpu", "dtypes", "float32", "float64", "implementations",
        "id", "foreign.c.GroupNorm", "layer", "group_norm", "layout", "N, C, *", "documentation", "docs/protocol.md",
        "ranks", 2, 3, 4, 5, "names", "num_channels", "channels", "num_groups", "groups", "eps", "eps",
        "weight", "weight", "bias", "bias", "remedies", "signature_defaults", "eps", 1e-5,
        "lacks", "why", "no automatic differentiation", "source", "examples/c/worker.c", "gradients", 1));
}

/* The calls of one layer; false where one raised. The results so far are in `results` all the same. */
static int run_steps(const GroupNorm *layer, const json_t *one, json_t *results, Raised *raised) {
    const char *dtype = json_string_value(json_object_get(one, "dtype"));
    size_t index;
    json_t *step;
    json_array_foreach(json_object_get(one, "steps"), index, step) {
        Array x = decode_array(json_object_get(step, "x")), y = {0};
        snprintf(raised->where, sizeof raised->where, "step %zu", index + 1);
        int returned = call(layer, &x, &y, raised);
        if (returned)
            json_array_append_new(results, json_pack("{s:o, s:s, s:{}, s:[]}", "output", encode_array(&y, dtype), "dtype",
                                                     dtype, "state", "modified"));
        free(x.values);
        free(y.values);
        if (!returned) return 0;
    }
    return 1;
}

static void answer(const json_t *one) {
    GroupNorm layer = {0};
    Raised raised = {.where = "construct"};
    json_t *results = json_array();
    int returned = construct(&layer, one, &raised) && run_steps(&layer, one, results, &raised);
    json_t *message = json_pack("{s:O, s:o, s:[]}", "number", json_object_get(one, "number"), "steps", results, "warnings");
    if (!returned)
        json_object_set_new(message, "raised", json_pack("{s:s, s:s, s:s}", "where", raised.where, "type", raised.type,
                                                         "message", raised.message));
    free(layer.weight);
    free(layer.bias);
    say(message);
}

int main(void) {
    say_hello();
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        json_error_t error;
        json_t *request = json_loads(line, 0, &error);
        if (!request) {
            fprintf(stderr, "a request that is not JSON: %s\n", error.text);
            return 1;
        }
        const char *op = json_string_value(json_object_get(request, "op"));
        size_t index;
        json_t *one;
        if (op && strcmp(op, "run") == 0)
            json_array_foreach(json_object_get(request, "cases"), index, one) answer(one);
        else
            say(json_pack("{s:O, s:s}", "number", json_object_get(request, "number"), "error", "op is not known; allowed: run"));
        json_decref(request);
    }
    free(line);
    return 0;
}
