/* A reader of safetensors files, for C99 and nothing else: enough for the test vectors. */
#ifndef SAFETENSORS_H
#define SAFETENSORS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char *header;        /* JSON, ends with 0 */
    unsigned char *data; /* the arrays' bytes */
    size_t size;         /* of data */
} Safetensors;

typedef struct {
    double *values; /* float32 widened; NULL: no such array */
    size_t count;
    size_t shape[4];
    int axes;
} Array;

/* 0 where the file cannot be read. Assumes a little-endian machine. */
static int safetensors_open(Safetensors *file, const char *path) {
    uint64_t length = 0;
    long size;
    FILE *stream = fopen(path, "rb");
    memset(file, 0, sizeof *file);
    if (!stream) return 0;
    if (fseek(stream, 0, SEEK_END) || (size = ftell(stream)) < 8) goto failed;
    rewind(stream);
    if (fread(&length, 8, 1, stream) != 1 || length > (uint64_t)size - 8) goto failed;
    file->size = (size_t)size - 8 - (size_t)length;
    file->header = calloc((size_t)length + 1, 1);
    file->data = malloc(file->size + 1);
    if (!file->header || !file->data) goto failed;
    if (fread(file->header, 1, (size_t)length, stream) != length) goto failed;
    if (fread(file->data, 1, file->size, stream) != file->size) goto failed;
    fclose(stream);
    return 1;
failed:
    fclose(stream);
    return 0;
}

static void safetensors_close(Safetensors *file) {
    free(file->header);
    free(file->data);
}

/* The array of that name. Names of test vectors hold no quotes, so the header needs no parser:
   `"name":{` can only be the beginning of its entry. */
static Array safetensors_get(const Safetensors *file, const char *name) {
    Array array = {0};
    char key[128];
    const char *entry, *shape, *offsets, *dtype;
    unsigned long long begin, end, n;
    size_t width;
    snprintf(key, sizeof key, "\"%s\":{", name);
    if (!(entry = strstr(file->header, key))) return array;
    dtype = strstr(entry, "\"dtype\":\"");
    shape = strstr(entry, "\"shape\":[");
    offsets = strstr(entry, "\"data_offsets\":[");
    if (!dtype || !shape || !offsets) return array;
    width = !strncmp(dtype + 9, "F64", 3) ? 8 : !strncmp(dtype + 9, "F32", 3) ? 4 : 1;
    if (sscanf(offsets + 16, "%llu,%llu", &begin, &end) != 2 || end > file->size || begin > end)
        return array;
    for (shape += 9; array.axes < 4 && sscanf(shape, "%llu", &n) == 1; shape++) {
        array.shape[array.axes++] = (size_t)n;
        shape += strspn(shape, "0123456789");
        if (*shape != ',') break;
    }
    array.count = (size_t)(end - begin) / width;
    array.values = calloc(array.count + 1, sizeof(double));
    for (size_t i = 0; array.values && i < array.count; i++) {
        const unsigned char *at = file->data + begin + i * width;
        float single;
        if (width == 8) memcpy(&array.values[i], at, 8);
        if (width == 4) memcpy(&single, at, 4), array.values[i] = single;
        if (width == 1) array.values[i] = *at;
    }
    return array;
}

#endif
