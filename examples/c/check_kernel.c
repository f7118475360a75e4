/* Checks a GroupNorm in C by vectors: reads a set from `normgauge vectors export`, runs the layer of group_norm.h on
 * every case that it supports, and compares each output with value +- bound of every semantics in the set.
 *
 * Build: gcc -std=c11 -O2 -Wall -Wextra -Werror -o check_kernel check_kernel.c -ljansson -lm
 * Usage: check_kernel VECTORS [right | eps-outside | interleaved-groups | unbiased-variance] [ANSWERS]
 *
 * Exits with 0 if the layer is canonical, with 1 if not, with 2 if the set cannot be read. With ANSWERS, the name of a
 * folder that exists, the outputs are written there for `normgauge vectors judge`.
 */
#define _GNU_SOURCE
#include <jansson.h>

#include "group_norm.h"

enum { MOST_SEMANTICS = 16 };

static const char *const KERNELS[] = {"right", "eps-outside", "interleaved-groups", "unbiased-variance"};

static void stop(const char *what, const char *which) {
    fprintf(stderr, "%s: %s\n", which, what);
    exit(2);
}

static const char *text(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

/* --- safetensors: 8 bytes, the length of a header; the header in JSON; the bytes of the tensors -------------------- */

typedef struct {
    const char *file;
    json_t *header;
    char *bytes;
} Tensors;

static char *read_file(const char *folder, const char *name, size_t *length) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) stop("cannot be opened", path);
    fseek(file, 0, SEEK_END);
    *length = (size_t)ftell(file);
    rewind(file);
    char *bytes = allocated(*length);
    if (fread(bytes, 1, *length, file) != *length) stop("cannot be read", path);
    fclose(file);
    return bytes;
}

static Tensors read_tensors(const char *folder, const char *name) {
    size_t length;
    unsigned long long header;
    char *bytes = read_file(folder, name, &length);
    memcpy(&header, bytes, sizeof header); /* little-endian, as this machine has it */
    json_error_t error;
    Tensors tensors = {name, json_loadb(bytes + sizeof header, header, 0, &error), bytes + sizeof header + header};
    if (!tensors.header) stop(error.text, name);
    return tensors;
}

static const Tensors *file_of(const Tensors *all, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(all[i].file, name) == 0) return &all[i];
    stop("is no file of the set", name);
    return NULL;
}

static Array tensor(const Tensors *tensors, const char *name) {
    const json_t *entry = json_object_get(tensors->header, name), *shape = json_object_get(entry, "shape");
    if (!entry) stop("is no tensor of the set", name);
    Array array = {.dimensions = json_array_size(shape), .size = 1};
    if (array.dimensions > MOST_DIMENSIONS) stop("has too many dimensions", name);
    for (size_t i = 0; i < array.dimensions; i++)
        array.size *= array.shape[i] = (size_t)json_integer_value(json_array_get(shape, i));
    const char *bytes = tensors->bytes + json_integer_value(json_array_get(json_object_get(entry, "data_offsets"), 0));
    int is_double = strcmp(text(entry, "dtype"), "F64") == 0;
    if (!is_double && strcmp(text(entry, "dtype"), "F32") != 0) stop("is neither F64 nor F32", name);
    array.values = allocated(array.size * sizeof(double));
    for (size_t i = 0; i < array.size; i++) {
        float single;
        if (is_double) {
            memcpy(&array.values[i], bytes + i * sizeof(double), sizeof(double));
        } else {
            memcpy(&single, bytes + i * sizeof(float), sizeof(float));
            array.values[i] = single;
        }
    }
    return array;
}

/* Written as they come: the header is made when all are known. */
typedef struct {
    json_t *header, *raised;
    char *bytes;
    size_t length;
} Answers;

static void keep(Answers *answers, const char *name, const Array *y, int is_double) {
    size_t width = is_double ? sizeof(double) : sizeof(float), length = y->size * width;
    answers->bytes = realloc(answers->bytes, answers->length + length + 1);
    if (!answers->bytes) stop("out of memory", name);
    for (size_t i = 0; i < y->size; i++) {
        float single = (float)y->values[i];
        memcpy(answers->bytes + answers->length + i * width, is_double ? (void *)&y->values[i] : (void *)&single, width);
    }
    json_t *shape = json_array();
    for (size_t i = 0; i < y->dimensions; i++) json_array_append_new(shape, json_integer((json_int_t)y->shape[i]));
    json_object_set_new(answers->header, name, json_pack("{s:s, s:o, s:[I, I]}", "dtype", is_double ? "F64" : "F32",
                                                         "shape", shape, "data_offsets", (json_int_t)answers->length,
                                                         (json_int_t)(answers->length + length)));
    answers->length += length;
}

static void write_answers(const Answers *answers, const char *folder) {
    char path[4096];
    snprintf(path, sizeof path, "%s/answers.safetensors", folder);
    FILE *file = fopen(path, "wb");
    if (!file) stop("cannot be written", path);
    char *header = json_dumps(answers->header, JSON_COMPACT);
    unsigned long long length = strlen(header);
    fwrite(&length, sizeof length, 1, file);
    fwrite(header, 1, length, file);
    fwrite(answers->bytes, 1, answers->length, file);
    if (fclose(file)) stop("cannot be written", path);
    snprintf(path, sizeof path, "%s/answers.json", folder);
    if (json_dump_file(json_pack("{s:s, s:O}", "framework", "c-kernel", "raised", answers->raised), path, JSON_COMPACT))
        stop("cannot be written", path);
}

/* --- a case -------------------------------------------------------------------------------------------------------- */

/* A GroupNorm, forward, in float32 or float64, with every setting given and without actions between the calls. */
static int is_supported(const json_t *one) {
    const char *dtype = text(one, "dtype");
    if (strcmp(text(one, "layer"), "group_norm") != 0 || json_object_get(one, "dtypes")) return 0;
    if (strcmp(dtype, "float32") != 0 && strcmp(dtype, "float64") != 0) return 0;
    if (!json_object_get(json_object_get(one, "settings"), "eps")) return 0;
    size_t index;
    json_t *step;
    json_array_foreach(json_object_get(one, "steps"), index, step) {
        const json_t *answer = json_object_get(step, "answer");
        if (json_object_get(step, "before") || !json_object_get(answer, "output") || json_object_size(answer) != 1) return 0;
    }
    return 1;
}

static int parameter(const json_t *one, const Tensors *tensors, const char *name, double initial, GroupNorm *layer,
                     double **values, Raised *raised) {
    const json_t *wanted = json_object_get(json_object_get(one, "settings"), name);
    const char *given = text(json_object_get(one, "parameters"), name);
    if (wanted && !json_is_true(wanted)) return 1;
    if (given) {
        Array array = tensor(tensors, given);
        *values = array.values;
        if (array.size == layer->channels) return 1;
        return refuse(raised, "ValueError", "%s must have num_channels=%zu values, got %zu", name, layer->channels, array.size);
    }
    *values = allocated(layer->channels * sizeof(double));
    for (size_t c = 0; c < layer->channels; c++) (*values)[c] = initial;
    return 1;
}

static int construct(GroupNorm *layer, const json_t *one, const Tensors *tensors, Raised *raised) {
    const json_t *settings = json_object_get(one, "settings");
    json_int_t channels = json_integer_value(json_object_get(settings, "num_channels"));
    json_int_t groups = json_integer_value(json_object_get(settings, "num_groups"));
    if (!check_groups(channels, groups, raised)) return 0;
    layer->channels = (size_t)channels;
    layer->groups = (size_t)groups;
    layer->eps = json_number_value(json_object_get(settings, "eps"));
    return parameter(one, tensors, "weight", 1, layer, &layer->weight, raised) &&
           parameter(one, tensors, "bias", 0, layer, &layer->bias, raised);
}

static int is_outside(const Array *y, const Array *value, const Array *bound, int is_double) {
    for (size_t i = 0; i < y->size; i++) {
        double found = is_double ? y->values[i] : (double)(float)y->values[i];
        int same = found == value->values[i] || (isnan(found) && isnan(value->values[i])) || !isfinite(bound->values[i]);
        if (!same && !(fabs(found - value->values[i]) <= bound->values[i])) return 1;
    }
    return 0;
}

/* Runs the case; `outside` counts, for each semantics, the cases with a value outside its bounds. */
static void run_case(const json_t *one, const Tensors *tensors, Mistake mistake, const json_t *semantics, size_t *outside,
                     Answers *answers) {
    GroupNorm layer = {.mistake = mistake};
    Raised raised = {.where = "construct"};
    int is_double = strcmp(text(one, "dtype"), "float64") == 0, wrong[MOST_SEMANTICS] = {0};
    int goes_on = construct(&layer, one, tensors, &raised);
    size_t index, number;
    json_t *step, *choices;
    const char *name;
    json_array_foreach(json_object_get(one, "steps"), index, step) {
        if (!goes_on) break;
        Array x = tensor(tensors, text(step, "x")), y = {0};
        snprintf(raised.where, sizeof raised.where, "step %zu", index + 1);
        if (!(goes_on = call(&layer, &x, &y, &raised))) break;
        keep(answers, text(json_object_get(step, "answer"), "output"), &y, is_double);
        number = 0;
        json_object_foreach((json_t *)semantics, name, choices) {
            const json_t *own = json_object_get(json_object_get(step, "expected"), name);
            const json_t *expected = json_object_get(own, "output");
            if (expected) {
                Array value = tensor(tensors, text(expected, "value")), bound = tensor(tensors, text(expected, "bound"));
                wrong[number] |= is_outside(&y, &value, &bound, is_double);
                free(value.values);
                free(bound.values);
            }
            number++;
        }
        free(x.values);
        free(y.values);
    }
    const char *refusal = text(one, "refusal");
    number = 0;
    json_object_foreach((json_t *)semantics, name, choices) {
        int required = json_object_get(json_object_get(one, "refused"), name) || (refusal && strcmp(refusal, "required") == 0);
        int either = refusal && strcmp(refusal, "allowed") == 0;
        outside[number] += wrong[number] || (!either && required == goes_on);
        number++;
    }
    if (!goes_on)
        json_object_set_new(answers->raised, text(one, "id"), json_pack("{s:s, s:s, s:s}", "where", raised.where, "type",
                                                                        raised.type, "message", raised.message));
    free(layer.weight);
    free(layer.bias);
}

/* What a semantics means: the note and the links of each axis on which it is not canonical. */
static void explain(const json_t *manifest, const json_t *choices) {
    const char *axis;
    json_t *value, *link;
    size_t index;
    json_object_foreach(json_object_get(choices, "group_norm"), axis, value) {
        char name[256];
        snprintf(name, sizeof name, "group_norm %s=%s", axis, json_string_value(value));
        const json_t *flag = json_object_get(json_object_get(manifest, "flags"), name);
        printf("  %s, as in %s\n", text(flag, "note"), json_string_value(json_array_get(json_object_get(flag, "sources"), 0)));
        json_array_foreach(json_object_get(flag, "links"), index, link) printf("  %s\n", json_string_value(link));
    }
}

int main(int count, char **words) {
    size_t kernel = 0;
    if (count < 2 || count > 4) stop("VECTORS [KERNEL] [ANSWERS]", words[0]);
    while (count > 2 && strcmp(words[2], KERNELS[kernel]) != 0)
        if (++kernel == sizeof KERNELS / sizeof *KERNELS) stop("is no kernel", words[2]);
    size_t length, index, supported = 0, number = 0, outside[MOST_SEMANTICS] = {0};
    json_error_t error;
    char *content = read_file(words[1], "manifest.json", &length);
    json_t *manifest = json_loadb(content, length, 0, &error);
    if (!manifest) stop(error.text, words[1]);
    const json_t *semantics = json_object_get(manifest, "semantics");
    if (json_object_size(semantics) > MOST_SEMANTICS) stop("has too many semantics", words[1]);
    json_t *one, *choices;
    const char *name;
    size_t files = 0;
    Tensors *tensors = allocated(json_object_size(json_object_get(manifest, "files")) * sizeof *tensors);
    json_object_foreach(json_object_get(manifest, "files"), name, one) tensors[files++] = read_tensors(words[1], name);
    Answers answers = {.header = json_object(), .raised = json_object()};
    json_array_foreach(json_object_get(manifest, "cases"), index, one) {
        if (!is_supported(one)) continue;
        supported++;
        run_case(one, file_of(tensors, files, text(one, "file")), (Mistake)kernel, semantics, outside, &answers);
    }
    printf("%s: %zu of %zu cases\n", KERNELS[kernel], supported, json_array_size(json_object_get(manifest, "cases")));
    json_object_foreach((json_t *)semantics, name, choices) printf("%s: outside the bounds in %zu cases\n", name, outside[number++]);
    int canonical = 0;
    number = 0;
    json_object_foreach((json_t *)semantics, name, choices) {
        if (outside[number++]) continue;
        canonical |= strcmp(name, "canonical") == 0;
        printf("follows %s\n", name);
        explain(manifest, choices);
    }
    if (count == 4) write_answers(&answers, words[3]);
    return !canonical;
}
